"""Features that are computed from the data before any network sees it."""
