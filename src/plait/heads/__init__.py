"""Tokens -> Prediction: one file a head, named as its kind."""
