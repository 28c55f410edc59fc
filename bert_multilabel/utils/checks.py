"""Checks of options that several groups of arguments share."""

from bert_multilabel.errors import MultiLabelError


def check_at_least_one(option: str, value: int | None) -> None:
    """Refuse a number below 1.

    Args:
        option: Its name, without the dashes.
        value: What was given for it; None is the default of every such option.

    Raises:
        MultiLabelError: If it is below 1.
    """
    if value is not None and value < 1:
        raise MultiLabelError(f"--{option} must be at least 1, got {value}")
