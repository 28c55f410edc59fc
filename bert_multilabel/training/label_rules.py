"""Chooses the rules between labels that the decisions of a run obey, and names the examples that break them."""

import logging
from typing import Any

from datasets import Dataset

from bert_multilabel.data.arguments import DataArguments
from bert_multilabel.data.examples import LoadedData, label_batches
from bert_multilabel.data.label_rules import ChosenRules, parse_rules, read_rules_file, warn_of_broken
from bert_multilabel.data.streaming import ExampleStream
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig

from .arguments import RunArguments

logger = logging.getLogger(__name__)


def choose_rules(arguments: RunArguments, stored: dict[str, Any] | None) -> ChosenRules | None:
    """Return the rules of `--label_rules`, or else those that are stored with the model to start from."""
    path = arguments.decisions.label_rules
    if path is None:
        return None if stored is None else ChosenRules(stored, f"{arguments.model.model_name_or_path}/config.json")
    if not arguments.training.do_train:
        raise MultiLabelError(
            f"--label_rules {path!r} becomes part of the model that is trained: add --do_train, or store it in a "
            "trained model with bert-multilabel tune"
        )
    return ChosenRules(read_rules_file(path), path) if path else None


def warn_of_broken_rows(rules: ChosenRules | None, loaded: LoadedData, data_args: DataArguments) -> None:
    """Log which examples to train or evaluate on break a rule.

    Raises:
        MultiLabelError: If the rules do not fit the labels of the examples.
    """
    if rules is None:
        return
    parsed = parse_rules(rules.rules, loaded.label_names or [], rules.source)
    examples: dict[str, Dataset | ExampleStream] = {**loaded.splits}
    if loaded.stream is not None:
        examples["train"] = loaded.stream
    for split in ("train", "validation"):
        if split in examples:
            source = getattr(data_args, f"{split}_file") or f"{data_args.dataset_name}, split {split!r}"
            warn_of_broken(parsed, source, label_batches(examples[split]), len(examples[split]))


def settle_rules(config: MultiLabelConfig, rules: ChosenRules | None) -> None:
    """Put the rules into the configuration of the model."""
    config.label_rules = None if rules is None else rules.rules
    config.validate_multilabel()
    if rules is not None:
        logger.info(f"label rules of {rules.source}: {config.describe_rules()}")
