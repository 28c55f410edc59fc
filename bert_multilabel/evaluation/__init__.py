"""Thresholds, calibration and confidence intervals, computed from arrays."""
