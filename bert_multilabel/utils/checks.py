"""Checks of options that several groups of arguments share."""

from bert_multilabel.errors import MultiLabelError


def check_at_least_one(option: str, value: int | None) -> None:
    """Raise a MultiLabelError if the value of an option, whose name has no dashes here, is below 1."""
    if value is not None and value < 1:
        raise MultiLabelError(f"--{option} must be at least 1, got {value}")
