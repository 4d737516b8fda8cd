"""Models: encoders, one fusion and heads, wired; one file a model, named as its kind."""
