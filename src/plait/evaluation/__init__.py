"""Comparisons and verdicts over finished runs."""
