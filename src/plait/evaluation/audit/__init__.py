"""The audit: nothing from after a forecast origin, and nothing of a held-out row, reaches the model."""
