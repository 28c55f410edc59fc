"""Exports a trained model to other tools: `python -m bert_multilabel.export MODEL_DIR --output DIR [--format NAME]`.

Formats: `onnx` (default), a folder for onnxruntime; `transformers`, a stock `BertForSequenceClassification` of a model
with strategy `cls`, which loads anywhere without `trust_remote_code`; `web`, a page that runs the model in the
visitor's browser. Each folder holds `parity.json`: how much its predictions differ from those of the original on the
examples of `--file`, or on made-up texts.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_multilabel.data.arguments import ColumnArguments
from bert_multilabel.errors import MultiLabelError, ParityError
from bert_multilabel.utils.option_parser import OptionParser, option

from .onnx_folder import export_onnx
from .parity import LARGEST_SCORE_LOSS, LEAST_EQUAL_ROWS, Parity, describe_parity
from .transformers_folder import export_transformers
from .web_folder import LIBRARY, export_web

# What writes each format, completely or not at all; it returns the content of `parity.json`.
FORMATS: dict[str, Callable[[Path, "ExportArguments"], dict[str, Any]]] = {
    "onnx": export_onnx,
    "transformers": export_transformers,
    "web": export_web,
}


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
        f"{1 - LEAST_EQUAL_ROWS:.0%}% of the examples get other labels, or the hamming score falls by more than "
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


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 1 if the exported model differs too much from the original, else 0."""
    parser = OptionParser(
        ExportArguments,
        prog="bert-multilabel export",
        description=__doc__,
        epilog="Exit code: 0 when the folder was written, 1 if the exported model differs too much from the original, "
        "2 for wrong arguments or input.",
    )
    parser.add_argument("model_dir", type=Path, help="Folder of the trained model.")
    try:
        options, others = parser.parse(arguments)
        report = FORMATS[options.format](others.model_dir, options)
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    except MultiLabelError as error:
        parser.error(str(error))
    print(f"Compared with the original on {report['rows']:,} examples ({report['source']}):")
    for precision in filter(report.get, ("float32", "int8")):
        parity = Parity(**report[precision])
        difference = parity.largest_probability_difference
        print(f"  {precision}: probabilities differ by at most {difference:.1g}; {describe_parity(parity)}")
    folder = Path(options.output)
    print(f"Written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0
