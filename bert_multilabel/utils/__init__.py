"""Files, processes and optional dependencies; imports nothing else of this package."""
