"""What a run leaves in its output directory: checkpoints, records and atomic saves."""
