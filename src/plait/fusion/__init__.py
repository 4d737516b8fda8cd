"""{name: Tokens} -> Tokens: one file an operator, named as its kind."""
