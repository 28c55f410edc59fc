"""Fits the decisions of a trained model on labeled examples."""
