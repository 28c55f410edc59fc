"""The data doctor: examines data before training."""
