# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""What some options may be, for those who offer them without loading a model."""

# By strategy: the name of its model class.
STRATEGIES = {"cls": "BertForMultiLabelCLS", "label_tokens": "BertForMultiLabelLabelTokens"}
LABEL_ATTENTIONS = ("full", "isolated")
PRECISIONS = ("float32", "bfloat16")  # of the encoder's matrix products
POOLINGS = ("max", "mean")  # of the probabilities in the windows of a text
