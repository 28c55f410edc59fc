"""The options that say which model a run starts from."""

from dataclasses import dataclass, field

from bert_multilabel.model.choices import LABEL_ATTENTIONS, STRATEGIES
from bert_multilabel.utils.checks import check_at_least_one
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.option_parser import document_fields, option


@document_fields
@dataclass(kw_only=True)
class ModelArguments:
    """Which model to start from."""

    model_name_or_path: str = field(
        metadata={"help": "A checkpoint of BERT or a relative; or a trained model, to train further or to predict."}
    )
    strategy: str | None = option(
        "Classify from [CLS], or from one token per label. Default: label_tokens, or that of the trained model.",
        choices=STRATEGIES,
    )
    label_attention: str | None = option(
        "What label tokens read: everything (full), or the text and themselves (isolated), so that a label's score "
        "does not depend on the other labels. Default: full, or that of the trained model.",
        choices=LABEL_ATTENTIONS,
    )
    label_layers: int | None = option(
        "How many of the last layers have label tokens; fewer are faster. Default: all, or as trained."
    )
    classifier_dropout: float | None = option(
        "Dropout of the classification head. Default: the backbone's hidden dropout."
    )
    label_descriptions: str | None = option(
        "Descriptions that label embeddings start from instead of the names: a JSON object from name to sentence, or "
        "a csv, tsv or jsonl with the columns label and description."
    )
    add_labels: bool = option(
        "Add labels after those of a trained model with label tokens. --label_names_file or the training data must "
        "name the model's own, too.",
        False,
    )
    keep_head: bool = option(
        "Keep the multi-label classifier of the checkpoint, with strategy cls. Without --do_train it is scored as it "
        "is and written to --output_dir as a trained model.",
        False,
    )
    allow_pickle: bool = option(
        "Load pytorch_model.bin, a pickle, if the checkpoint has no safetensors: only from a source that you trust.",
        False,
    )
    lora_rank: int | None = option(
        "Train low-rank adapters of this rank instead of the encoder, and merge them at the end. Default: none."
    )

    def __post_init__(self) -> None:
        check_at_least_one("lora_rank", self.lora_rank)
        if self.lora_rank is not None:
            check_installed("--lora_rank", "lora")
