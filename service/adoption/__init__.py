"""Counts an existing table."""
