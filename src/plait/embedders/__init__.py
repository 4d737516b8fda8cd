"""Frozen models that turn texts into states, once; one file an embedder, named as its kind."""
