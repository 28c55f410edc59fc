"""The facts of a run that its model card shows.

They are stored in the record of the run, so that a later model card, such as that of `tune`, can show them again.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from bert_multilabel.output_dir.checkpoints import add_to_run, read_run

_ENTRY = "card"


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is told of a run. JSON values.

    Attributes:
        hub_name: The model's name on the Hub, if it is to have one.
        base_model: What the training started from; of a local folder the name alone.
        base_model_id: The same as a name on the Hub, if it has one.
        train_source: Data set or file of the training rows.
        train_rows: How many there were.
        positives: How many of them have each label, L numbers.
        validation_source: Data set or file of the validation rows, or what they were split off.
        dataset_id: Name of the data set on the Hub, if it has one.
        has_pairs: Whether rows have a second text.
        max_seq_length: Where inputs were cut, in tokens; None: at the model's own limit.
        recipe: How it was trained, in words, by what it is about.
        hardware: What it was trained on.
        seconds: How long training took; None if it went on from a checkpoint, for only what followed was measured.
        versions: Of the libraries.
        languages: Codes of the languages, as the user gave them.
        license: As the user gave it.
        examples: Texts that the user asked to show.
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
    """Keep the facts in the record of the run in a folder."""
    add_to_run(model_dir, **{_ENTRY: asdict(facts)})


def read_facts(model_dir: Path) -> RunFacts | None:
    """Return the facts of the run in a folder, or None if there was none."""
    run = read_run(model_dir)
    return RunFacts(**run[_ENTRY]) if run is not None and _ENTRY in run else None
