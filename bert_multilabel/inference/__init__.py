"""From files and tables to predictions."""
