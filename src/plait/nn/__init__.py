"""Layers used by more than one part."""
