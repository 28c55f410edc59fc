"""Writes examples of any form as clean rows."""
