"""Files -> checked tables -> rows of tensors: sources, splits, the as-of join, the embedding store."""
