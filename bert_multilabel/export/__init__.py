"""Exports a trained model to other runtimes."""
