"""The options of an export."""

from dataclasses import dataclass, field

from bert_multilabel.data.arguments import ColumnArguments
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.utils.option_parser import option

# By format: the module that writes it and its function, imported when needed, and the extra that it needs.
FORMATS = {
    "onnx": ("onnx_folder", "export_onnx", "onnx"),
    "transformers": ("transformers_folder", "export_transformers", None),
    "web": ("web_folder", "export_web", "onnx"),
}
# Limits for a quantized model: share of the examples whose labels all stay the same, and loss of hamming score.
LEAST_EQUAL_ROWS = 0.995
LARGEST_SCORE_LOSS = 0.005
LIBRARY = "@huggingface/transformers"  # the npm package that runs models in browsers


@dataclass(kw_only=True)
class ExportArguments(ColumnArguments):
    """What to write, and the examples to compare on."""

    output: str = field(metadata={"help": "Folder to write; it must not exist, or be empty."})
    format: str = option("What to write.", "onnx", choices=FORMATS)
    file: str | None = option(
        "File, folder or pattern of examples to compare on, with or without labels. Default: made-up texts, which "
        "only test the arithmetic."
    )
    quantize: str | None = option(
        "Compute most matrix products with 8-bit integers: smaller and faster, but some predictions change, which "
        "--file measures. Default: float32.",
        choices=["int8"],
    )
    allow_changes: bool = option(
        "Write a quantized model although it was not measured (no --file), or more than "
        f"{1 - LEAST_EQUAL_ROWS:.1%}% of the examples get other labels, or the hamming score falls by more than "
        f"{LARGEST_SCORE_LOSS}.",
        False,
    )
    decide_at_half: bool = option(
        "With --format transformers: fold the thresholds into the biases, so that a score of 0.5 (a raw score of 0) "
        "decides as the model does. The scores are then no probabilities.",
        False,
    )
    transformers_js: str | None = option(
        f"Folder of the npm package {LIBRARY}, for --format web. Default: node_modules/{LIBRARY}."
    )

    def __post_init__(self) -> None:
        """Check that options belong to the format, and that a quantization is measured, or need not be."""
        super().__post_init__()
        if not self.output:
            raise MultiLabelError("--output is empty: name the folder to write")
        if self.decide_at_half and self.format != "transformers":
            raise MultiLabelError(
                f"--decide_at_half is for --format transformers, not for {self.format}: leave it out"
            )
        if self.quantize is not None and self.format == "transformers":
            raise MultiLabelError(
                f"--quantize {self.quantize} is for --format onnx and web, not for transformers: leave it out"
            )
        if self.quantize is not None and self.file is None and not self.allow_changes:
            raise MultiLabelError(
                f"--quantize {self.quantize} changes some predictions: measure how many with --file EXAMPLES, or add "
                "--allow_changes"
            )
        if self.transformers_js is not None and self.format != "web":
            raise MultiLabelError(f"--transformers_js is for --format web, not for {self.format}: leave it out")
