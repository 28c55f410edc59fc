"""The options that say which model a run starts from."""

from dataclasses import dataclass, field

from bert_multilabel.model.configuration_multilabel import LABEL_ATTENTIONS, STRATEGIES
from bert_multilabel.utils.checks import check_at_least_one
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.option_parser import document_fields


@document_fields
@dataclass(kw_only=True)
class ModelArguments:
    """Which model to start from."""

    model_name_or_path: str = field(
        metadata={"help": "A BERT checkpoint, or a trained model to train further or to predict with."}
    )
    strategy: str | None = field(
        default=None,
        metadata={
            "help": "Classify from the [CLS] vector, or from one label token per label. Default: label_tokens, "
            "or that of the trained model.",
            "choices": list(STRATEGIES),
        },
    )
    label_attention: str | None = field(
        default=None,
        metadata={
            "help": "What label tokens read: everything (full), or the text and themselves (isolated), so that a "
            "label's score does not depend on the other labels. Default: full, or that of the trained model.",
            "choices": list(LABEL_ATTENTIONS),
        },
    )
    label_layers: int | None = field(
        default=None,
        metadata={
            "help": "Number of last layers that label tokens take part in: fewer are faster. Default: all, or "
            "those of the trained model."
        },
    )
    classifier_dropout: float | None = field(
        default=None, metadata={"help": "Dropout of the classification head. Default: the backbone's hidden dropout."}
    )
    label_descriptions: str | None = field(
        default=None,
        metadata={
            "help": "Descriptions that label embeddings start from instead of the names: a JSON object from "
            "name to sentence, or a csv, tsv or jsonl with the columns label and description."
        },
    )
    add_labels: bool = field(
        default=False,
        metadata={
            "help": "Add the labels that a trained model lacks, behind its own; only with label tokens. "
            "--label_names_file or the training data must name its own, too."
        },
    )
    allow_pickle: bool = field(
        default=False,
        metadata={
            "help": "Take the weights from a pickle (pytorch_model.bin) where the checkpoint has no safetensors: only "
            "from a source that you trust."
        },
    )
    lora_rank: int | None = field(
        default=None,
        metadata={
            "help": "Train low-rank adapters of this rank instead of the encoder, and merge them at the end. Default: "
            "train the encoder itself."
        },
    )

    def __post_init__(self) -> None:
        check_at_least_one("lora_rank", self.lora_rank)
        if self.lora_rank is not None:
            check_installed("--lora_rank", "lora")
