"""The model, its tokenizer and its pipeline. Every saved model carries these files and loads with them alone."""
