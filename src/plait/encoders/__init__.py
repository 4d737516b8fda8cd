"""One modality -> Tokens: one file an encoder, named as its kind."""
