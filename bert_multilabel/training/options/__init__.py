"""The options of training, as dataclasses that need neither torch nor Transformers: `--help` shows them at once."""
