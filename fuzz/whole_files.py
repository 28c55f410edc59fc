"""Whole files of every format: they give clean examples, or a `DataError` of readable length."""

from random import Random
from typing import Any

import numpy as np

from bert_multilabel.data.dataset_sources import open_source
from bert_multilabel.data.plan import Plan
from bert_multilabel.data.spec import ANNOTATORS, DataSpec
from bert_multilabel.errors import DataError, MissingDependencyError

from .containers import mutated_file
from .inputs import check_message

_SPECS = [
    *[DataSpec()] * 4,
    DataSpec(label_names=["price", "gift"]),
    DataSpec(text_column=["text", "title"], label_column="labels", join_lists=True, name_text_columns=True),
    DataSpec(label_column=["a", "b"], text_pair_column="", labels_as_they_are=True),
    DataSpec(label_values="shares"),
    DataSpec(label_values="votes>=2"),
    DataSpec(label_delimiter="|", id_column="id", one_label_per_line=True),
    *(DataSpec(annotators=rule) for rule in ANNOTATORS),
    DataSpec(use_suggestions=True, label_names=["price", "gift"], label_ids=[1, 2]),
]


def run(generator: Random) -> None:
    """Read a mutated file as a split, without storing it."""
    path, spec = mutated_file(generator), generator.choice(_SPECS)
    split = generator.choice(["train", "train", "validation", "test"])
    try:
        source = open_source(path, spec, split)
        plan = Plan.make({split: source}, spec)
        for message in plan.messages:
            assert len(message) < 20_000
        for batch in plan.cleaner(split, source, spec).batches():
            _check(batch, 0 if plan.parser is None else len(plan.parser.label_names))
    except (DataError, MissingDependencyError) as error:
        check_message(error)


def _check(batch: dict[str, Any], count: int) -> None:
    sizes = {len(cells) for cells in batch.values()}
    assert len(sizes) == 1
    assert all(isinstance(text, str) and text.encode() is not None for text in batch["text"])
    if "labels" in batch:
        labels = np.array(batch["labels"].to_pylist(), np.float64).reshape(-1, max(count, 1))
        assert (len(labels) in sizes or not count) and np.all(np.isnan(labels) | (labels >= 0) & (labels <= 1))
