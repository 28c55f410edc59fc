"""A web page on which to try a trained model."""
