"""The command line: verbs over the same functions as the Python API."""
