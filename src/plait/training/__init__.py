"""The training loop, its stages, optimisers and checkpoints; it knows models and tasks by protocol only."""
