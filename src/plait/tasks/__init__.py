"""What is asked of a model: losses, scores, the cheap rivals, and the page data of its report."""
