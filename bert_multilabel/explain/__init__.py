"""Explains which words of a text support a label."""
