"""Counting a table that exists already."""
