"""Chooses the question, among several that annotators answered, whose answers are the labels."""

from collections.abc import Collection
from dataclasses import replace

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import shorten
from bert_multilabel.errors import DataError

LABELS = "labels"  # the column of the answers, so its name may be passed for the only question, too


def choose_question(questions: Collection[str], spec: DataSpec, kind: str) -> str | None:
    """Return the question that is named as the label column, or the only one; None without questions.

    Args:
        questions: The names of those that were answered.
        spec: May name the label column.
        kind: What the tool calls a question.

    Raises:
        DataError: If there are several and none is named, or several are named.
    """
    names = spec.label_columns or sorted(questions)
    if len(names) > 1:
        raise DataError(
            f"labels may come from several {kind}s: {shorten(names)}; name one, such as --label_column {names[0]}"
        )
    return names[0] if names else None


def with_question(questions: Collection[str], spec: DataSpec, kind: str) -> DataSpec:
    """Return the spec with the question as its label column, if any was answered; see `choose_question`.

    Raises:
        DataError: Also if the named question was not answered.
    """
    if spec.label_columns == [LABELS] and LABELS not in questions:
        spec = replace(spec, label_column=None)
    question = choose_question(questions, spec, kind)
    if questions and question not in questions:
        raise DataError(f"there is no {kind} {question!r} with labels; those with some: {shorten(sorted(questions))}")
    return replace(spec, label_column=question)
