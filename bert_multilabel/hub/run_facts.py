"""The facts about a training run that the model card shows.

They are stored in the record of the run, so that a later model card, such as that of `tune`, shows them again.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from bert_multilabel.output_dir.checkpoints import add_to_run, read_run

_ENTRY = "card"


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts about a training run; all are JSON values."""

    hub_name: str | None  # the model's name on the Hub, None if it is not pushed
    base_model: str  # name of the model that the training started from; of a local folder only its last part
    base_model_id: str | None  # name of that model on the Hub, None if unknown
    train_source: str  # data set or file of the training examples
    train_rows: int  # number of training examples
    positives: list[int]  # number of training examples with each label, L numbers
    validation_source: str  # data set or file of the validation examples, or of those they were split from
    dataset_id: str | None  # name of the data set on the Hub, None if unknown
    has_pairs: bool  # whether the examples have a second text
    max_seq_length: int | None  # maximum length of inputs in tokens; None: the model's own limit
    recipe: dict[str, str]  # descriptions of the training settings, by their names
    hardware: str
    seconds: float | None  # duration of the training; None if it was resumed, as only the rest was measured
    versions: dict[str, str]  # versions of the libraries, by name
    languages: list[str]  # codes, from the user
    license: str | None  # from the user
    examples: list[str]  # texts to show on the Hub, at the user's request


def store_facts(model_dir: Path, facts: RunFacts) -> None:
    """Add the facts to the record of the run in a folder."""
    add_to_run(model_dir, **{_ENTRY: asdict(facts)})


def read_facts(model_dir: Path) -> RunFacts | None:
    """Return the facts about the run in a folder, or None if none are stored."""
    run = read_run(model_dir)
    return RunFacts(**run[_ENTRY]) if run is not None and _ENTRY in run else None
