"""From files and datasets to clean examples with token ids."""
