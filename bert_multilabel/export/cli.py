"""Exports a trained model to ONNX: `python -m bert_multilabel.export MODEL_DIR --output DIR [--quantize int8]`.

DIR then holds `model.onnx` and `tokenizer.json`; `onnx_model.py`, which runs them with onnxruntime, numpy and
tokenizers alone; and `parity.json`: how near the exported model comes to the original, on the rows of `--file` or on
made-up texts.
"""

import shutil
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from bert_multilabel.cli.commands import parse
from bert_multilabel.data.arguments import ColumnArguments
from bert_multilabel.data.examples import load_splits, multi_hot
from bert_multilabel.errors import MultiLabelError, ParityError
from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.output_dir.checkpoints import trained_pair_column
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.files import atomic_folder, write_json

from .parity import Parity, Sample, compare, made_up_sample, original_logits

PARITY_FILE = "parity.json"
QUANTIZATIONS = ("int8",)
# How far a probability may be off in float32: many times what rounding explains (some 1e-6), and of no consequence.
TOLERANCE = 1e-4


@dataclass
class ExportArguments(ColumnArguments):
    """What to write, and the rows to compare on."""

    output: str = field(kw_only=True, metadata={"help": "Folder to write; it must not exist, or be empty."})
    file: str | None = field(
        default=None,
        metadata={
            "help": "csv, tsv, json, jsonl or parquet of texts to compare on, with labels or without. Default: "
            "made-up texts, which show only whether the arithmetic is the same."
        },
    )
    quantize: str | None = field(
        default=None,
        metadata={
            "help": "Compute most products on 8-bit integers: faster and smaller, and some decisions change. "
            "Default: float32.",
            "choices": list(QUANTIZATIONS),
        },
    )


def export_folder(model_dir: Path, wanted: ExportArguments) -> dict[str, Any]:
    """Write the exported form of a trained model, all of it or nothing.

    Args:
        model_dir: A folder that the script trained, or that `save_pretrained` wrote.
        wanted: What to write and where, and the rows to compare on.

    Returns:
        What `parity.json` holds: the `source` of the texts, the number of `rows` and `decisions`, the `tolerance` in
        float32, and by precision (`"float32"`, and `"int8"` if that was asked for) the fields of `Parity`.

    Raises:
        MultiLabelError: If the folder holds no model of ours, the output is there already, or the rows are bad.
        ParityError: If probabilities differ by more than `TOLERANCE` in float32; then nothing is written.
    """
    # What these import is not part of the plain install.
    from . import onnx_model
    from .onnx_graph import quantize, write_graph

    with atomic_folder(Path(wanted.output)) as folder:
        model, tokenizer = load_trained(model_dir)
        reader = scoring_tokenizer(tokenizer, model.config)
        reader.model_max_length = _max_length(wanted.max_seq_length, reader.model_max_length)
        reader("", truncation=True)  # refuses what leaves no room beside label tokens
        if wanted.file is None:
            sample = made_up_sample(tokenizer, with_pairs=bool(trained_pair_column(model_dir)))
        else:
            sample = _read_sample(wanted.file, model_dir, wanted, model.config.label_names)
        before = original_logits(model, reader, sample)  # (N, L)

        graph_file = folder / onnx_model.MODEL_FILE
        write_graph(graph_file, model, reader)
        reader.backend_tokenizer.no_truncation()
        reader.backend_tokenizer.no_padding()
        reader.backend_tokenizer.save(str(folder / onnx_model.TOKENIZER_FILE))
        shutil.copy(onnx_model.__file__, folder)

        parities = {"float32": compare(model.config, before, onnx_model.OnnxModel(folder), sample)}
        check_parity(parities["float32"], sample)
        if wanted.quantize is not None:
            quantize(graph_file, graph_file)
            parities[wanted.quantize] = compare(model.config, before, onnx_model.OnnxModel(folder), sample)
        report = {
            "source": sample.source,
            "rows": len(sample.texts),
            "decisions": before.numel(),
            "tolerance": TOLERANCE,
            **{precision: _known(parity) for precision, parity in parities.items()},
        }
        write_json(folder / PARITY_FILE, report)
    return report


def _max_length(wanted: int | None, limit: int) -> int:
    if wanted is not None and wanted > limit:
        raise MultiLabelError(f"max_seq_length={wanted} is more than the {limit} tokens that this model can take")
    return limit if wanted is None else wanted


def _read_sample(file: str, model_dir: Path, columns: ColumnArguments, label_names: list[str]) -> Sample:
    if columns.text_pair_column is None:
        columns = replace(columns, text_pair_column=trained_pair_column(model_dir))
    # As rows to predict: texts may be empty, and labels missing.
    rows = load_splits(columns.spec(label_names), {"test": file}).splits["test"]
    return Sample(
        source=Path(file).name,
        texts=list(rows["text"]),
        pairs=list(rows["pair"]) if "pair" in rows.column_names else None,
        labels=multi_hot(rows) if "labels" in rows.column_names else None,
    )


def check_parity(parity: Parity, sample: Sample) -> None:
    """Raise a ParityError if probabilities in float32 differ by more than `TOLERANCE`."""
    difference = parity.largest_probability_difference
    if not difference <= TOLERANCE:  # NaN is no parity either
        raise ParityError(
            f"the exported model differs from the original: probabilities by up to {difference:.2g} on "
            f"{len(sample.texts)} rows of {sample.source}, where {TOLERANCE:.0e} is allowed; nothing was written. "
            "Please report this with the versions of torch, onnxscript and onnxruntime"
        )


def _known(parity: Parity) -> dict[str, float]:
    return {name: value for name, value in asdict(parity).items() if value is not None}


def main(arguments: list[str] | None = None) -> int:
    """Export, and print how near the exported model comes to the original.

    Args:
        arguments: The command line without the program's name; by default that of the process.

    Returns:
        0 if the folder was written, 1 if the exported model differs from the original.

    Raises:
        SystemExit: From argparse, for `--help` (0) and for wrong arguments or input (2).
    """
    parser = HfArgumentParser(
        ExportArguments,  # type: ignore[arg-type]
        prog="python -m bert_multilabel.export",
        description=__doc__,
        epilog="Exit code: 0 when the folder was written, 1 if the exported model differs from the original, 2 for "
        "wrong arguments or input.",
        allow_abbrev=False,
    )
    parser.add_argument("model_dir", type=Path, help="Folder of the trained model.")
    wanted, others = parse(parser, arguments)
    try:
        check_installed("exporting", "onnx")
        report = export_folder(others.model_dir, wanted)
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(render(report)))
    folder = Path(wanted.output)
    print(f"written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0


def render(report: dict[str, Any]) -> list[str]:
    """Write a parity report as lines of text."""
    columns = [name for name in ("float32", *QUANTIZATIONS) if name in report]
    lines = [
        f"compared with PyTorch on {report['rows']:,} rows, {report['decisions']:,} decisions: {report['source']}",
        f"{'':32}" + "".join(f"{column:>12}" for column in columns),
    ]
    for name in report["float32"]:
        style = ".1e" if "difference" in name else ".3%" if name.startswith("equal") else ".4f"
        lines.append(
            f"{name.replace('_', ' '):32}" + "".join(f"{report[column][name]:>12{style}}" for column in columns)
        )
    return lines
