# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""The error of the files that travel with a model."""


class MultiLabelError(ValueError):
    """Input that is refused. The message says what is wrong, where it is and what to do."""
