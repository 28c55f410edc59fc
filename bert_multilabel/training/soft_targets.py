"""Mixes the labels of the training examples with the probabilities of teachers.

The mix takes the place of the labels, so that all that training does with labels is done with it: any loss, the count
of annotated labels, several processes. All losses take labels from 0 to 1. For those that are linear in the label
(bce, weighted_bce, asymmetric) the loss of the mix is the mix of the losses for the labels and for the teachers.

The probabilities of several teachers are averaged, not their logits: the binary cross entropy of the mean is the mean
of the cross entropies for each teacher, and a teacher that is sure and wrong does not outvote the others.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network"; what they do with a softmax is done here
with a sigmoid per label. Shapes: N examples, L labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from datasets import Dataset, Features, List, Value, concatenate_datasets
from numpy.typing import NDArray

from bert_multilabel.data.arrow import as_lists, as_numbers
from bert_multilabel.data.cache import cached_examples, dataset_digest, reopen_memory_map
from bert_multilabel.data.examples import LoadedData, load_texts
from bert_multilabel.data.table import BATCH_SIZE
from bert_multilabel.errors import MultiLabelError

from .arguments import RunArguments
from .teachers import ROW, ModelTeacher, Reading, Teacher, read_teachers


@dataclass(frozen=True)
class Teaching:
    """What teachers do in a training.

    Attributes:
        teachers: One or more.
        weight: Share of the teachers in the targets of labels that are annotated, from 0 to 1.
        unlabelled: More texts, which only the models among the teachers label.
    """

    teachers: Sequence[Teacher]
    weight: float
    unlabelled: Dataset | None = None

    @classmethod
    def of(cls, arguments: RunArguments, data: LoadedData) -> "Teaching | None":
        """Check the teachers of a run, and read the texts that they alone label; None without teachers.

        Args:
            arguments: The options of the run.
            data: All examples of their sources.

        Raises:
            MultiLabelError: If a teacher or the texts do not fit the training examples.
        """
        args, unlabelled_file = arguments.training, arguments.data.unlabelled_file
        if args.teacher is None:
            if unlabelled_file is not None:
                raise MultiLabelError(f"--unlabelled_file {unlabelled_file} needs a --teacher to label it")
            return None
        names = data.label_names or []  # examples to train on have labels
        reading = Reading(str(args.predict_precision), args.device, args.windows)
        teachers = read_teachers(args.teacher, names, data.splits["train"], reading)
        weight = cast(float, args.teacher_weight)
        if unlabelled_file is None:
            return cls(teachers, weight)
        if not any(isinstance(teacher, ModelTeacher) for teacher in teachers):
            raise MultiLabelError(
                f"--unlabelled_file {unlabelled_file} needs a trained model to label it, and --teacher "
                f"{' '.join(args.teacher)} holds scores of the training rows: add a folder, or drop the file"
            )
        spec = replace(arguments.data.spec(names), text_pair_column=data.pair_column or "")
        return cls(teachers, weight, load_texts(unlabelled_file, spec))

    def applied_to(self, data: LoadedData, seed: int) -> LoadedData:
        """Return the data with soft targets as labels, and the unlabelled texts shuffled among the training examples.

        Labels must be in the order of the teachers' probabilities. If examples have weights, those of unlabelled texts
        are 1.
        """
        train = data.splits["train"]
        train = mixed_examples(train, [teacher.probabilities(train) for teacher in self.teachers], self.weight)
        if self.unlabelled is not None:
            models = [teacher for teacher in self.teachers if isinstance(teacher, ModelTeacher)]
            scores = [model.probabilities(self.unlabelled) for model in models]
            more = mixed_examples(self.unlabelled, scores, self.weight)
            if "weight" in train.features:
                more = more.add_column("weight", np.ones(len(more), np.float32))
            train = concatenate_datasets([train, more]).shuffle(seed=seed)
        return replace(data, splits={**data.splits, "train": train})


def mixed_examples(examples: Dataset, scores: Sequence[Dataset], weight: float) -> Dataset:
    """Return examples with the targets `soft_targets` as labels, memory-mapped from the cache.

    Args:
        examples: N examples, perhaps with the column `labels`, (N, L) of 0 to 1 or NaN.
        scores: The probabilities of one or more teachers for them, (N, L) in a column `scores`.
        weight: Share of the teachers.
    """
    passed = {name: kind for name, kind in examples.features.items() if name not in ("labels", "id", ROW)}
    features = Features({**passed, "labels": List(Value("float32"))})
    computed_from = {
        "examples": dataset_digest(examples),
        "scores": [dataset_digest(of_teacher.select_columns("scores")) for of_teacher in scores],
        "weight": weight,
    }

    def mix() -> Iterator[dict[str, Any]]:
        start = 0
        for part in reopen_memory_map(examples).with_format("arrow").iter(batch_size=BATCH_SIZE):
            span = range(start, start := start + len(part))
            probabilities = np.mean([_matrix(of_teacher, span, "scores") for of_teacher in scores], axis=0)  # (B, L)
            labels = np.full_like(probabilities, np.nan)
            if "labels" in examples.features:
                labels = _matrix(examples, span, "labels")
            columns = {name: part[name].combine_chunks() for name in passed}
            yield {**columns, "labels": as_lists(soft_targets(labels, probabilities, weight))}

    return cached_examples(computed_from, mix(), features)


def soft_targets(
    labels: NDArray[np.float32], probabilities: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    """Return (1 - weight) label + weight probability, and the probability alone where a label is not annotated.

    Args:
        labels: (N, L), 0 to 1, or NaN for "not annotated".
        probabilities: (N, L), the mean of the teachers'.
        weight: Share of the teachers, 0 to 1.
    """
    mixed = (1 - weight) * labels + weight * probabilities
    return np.where(np.isnan(labels), probabilities, mixed).astype(np.float32)


def _matrix(examples: Dataset, span: range, name: str) -> NDArray[np.float32]:
    """Return a column of lists of some examples, (B, L)."""
    return as_numbers(examples.with_format("arrow")[span.start : span.stop][name])
