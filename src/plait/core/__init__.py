"""The nouns every room shares: tokens and batches, configs and kinds, errors, seeds."""
