"""The file of labelled examples that a command evaluates."""

from dataclasses import dataclass, field

from bert_multilabel.data.arguments import ColumnArguments
from bert_multilabel.model.choices import POOLINGS, PRECISIONS
from bert_multilabel.training.options.training import POOLING
from bert_multilabel.utils.option_parser import option


@dataclass
class LabelledFile(ColumnArguments):
    """A file of labelled examples, and how to score them."""

    file: str = field(kw_only=True, metadata={"help": "File, folder or pattern of labelled examples, not trained on."})
    precision: str = option("Precision of the encoder's matrix products.", "float32", choices=PRECISIONS)
    stride: int | None = option(
        "Read long texts in windows that share this many tokens. Default: texts are truncated."
    )
    pooling: str | None = option(POOLING, choices=POOLINGS)
