"""One file a source kind, named as its kind: where data lie and how they are read."""
