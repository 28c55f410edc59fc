"""Commands that try to break this package: `python -m fuzz.run`, `fuzz.hostile_texts`, `fuzz.hostile_server`."""
