"""Evaluation suites: TOML files, and the functions that build their rows."""
