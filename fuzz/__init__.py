"""Tests with hostile input: `python -m fuzz.run`, `fuzz.hostile_texts`, `fuzz.hostile_server`."""
