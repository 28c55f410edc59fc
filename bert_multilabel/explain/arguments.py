"""The options of an explanation."""

from dataclasses import dataclass, field

from bert_multilabel.utils.option_parser import option

STEPS = 32  # usually enough for an error below 1%


@dataclass
class ExplainArguments:
    """What to explain."""

    text: str = field(metadata={"help": "The text."})
    pair: str | None = option("The second text, for a model trained on pairs.")
    labels: list[str] | None = option(
        "Labels to explain. Default: the predicted ones, or the most probable one if there are none."
    )
    steps: int = option("Number of gradients per label: more are slower and more exact.", STEPS)
    json: str | None = option("Also write the explanation to this JSON file.")
