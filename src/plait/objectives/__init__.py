"""Losses, metrics and intervals."""
