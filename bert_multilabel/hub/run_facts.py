"""The facts about a training run that the model card shows.

They are stored in the record of the run, so that a later model card, such as that of `tune`, shows them again.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from bert_multilabel.output_dir.checkpoints import add_to_run, read_run

_ENTRY = "card"


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts about a training run; all are JSON values.

    Attributes:
        hub_name: The model's name on the Hub, None if it is not pushed.
        base_model: Name of the model that the training started from; of a local folder only its last part.
        base_model_id: Name of that model on the Hub, None if unknown.
        train_source: Data set or file of the training examples.
        train_rows: Number of training examples.
        positives: Number of training examples with each label, L numbers.
        validation_source: Data set or file of the validation examples, or of those they were split from.
        dataset_id: Name of the data set on the Hub, None if unknown.
        has_pairs: Whether the examples have a second text.
        max_seq_length: Maximum length of inputs in tokens; None: the model's own limit.
        recipe: Descriptions of the training settings, by their names.
        hardware: The device, or devices.
        seconds: Duration of the training; None if it was resumed, as only the rest was measured.
        versions: Versions of the libraries, by name.
        languages: Codes of the languages, from the user.
        license: The license, from the user.
        examples: Texts to show on the Hub, at the user's request.
    """

    hub_name: str | None
    base_model: str
    base_model_id: str | None
    train_source: str
    train_rows: int
    positives: list[int]
    validation_source: str
    dataset_id: str | None
    has_pairs: bool
    max_seq_length: int | None
    recipe: dict[str, str]
    hardware: str
    seconds: float | None
    versions: dict[str, str]
    languages: list[str]
    license: str | None
    examples: list[str]


def store_facts(model_dir: Path, facts: RunFacts) -> None:
    """Add the facts to the record of the run in a folder."""
    add_to_run(model_dir, **{_ENTRY: asdict(facts)})


def read_facts(model_dir: Path) -> RunFacts | None:
    """Return the facts about the run in a folder, or None if none are stored."""
    run = read_run(model_dir)
    return RunFacts(**run[_ENTRY]) if run is not None and _ENTRY in run else None
