"""Reports how a trained model does on labeled examples."""
