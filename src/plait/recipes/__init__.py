"""Recipes as data: one YAML file each."""
