"""Fine-tuning: arguments, preparation, the Trainer and what it minimizes."""
