"""Exports a trained model to ONNX: `python -m bert_multilabel.export MODEL_DIR --output DIR [--quantize int8]`.

It writes `model.onnx` and `tokenizer.json`; `onnx_model.py` and the files that it imports, which run them with only
onnxruntime, numpy and tokenizers; and `parity.json`: how much the predictions of the export differ from those of the
original on the examples of `--file`, or on made-up texts.
"""

import shutil
import sys
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bert_multilabel.data.arguments import ColumnArguments
from bert_multilabel.data.examples import load_splits, multi_hot
from bert_multilabel.errors import MultiLabelError, ParityError
from bert_multilabel.loading import load_trained
from bert_multilabel.model import decision, label_rules, likeliest_sets
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.output_dir.checkpoints import trained_pair_column
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.files import atomic_folder, write_json
from bert_multilabel.utils.option_parser import OptionParser, option

from .parity import Parity, Sample, compare, made_up_sample, original_logits

PARITY_FILE = "parity.json"
TOLERANCE = 1e-4  # of probabilities in float32; rounding explains about 1e-6
# Limits for a quantized model: share of the examples whose labels all stay the same, and loss of hamming score.
LEAST_EQUAL_ROWS = 0.95
LARGEST_SCORE_LOSS = 0.005
_report = partial(print, flush=True)


@dataclass(kw_only=True)
class ExportArguments(ColumnArguments):
    """What to write, and the examples to compare on."""

    output: str = field(metadata={"help": "Folder to write; it must not exist, or be empty."})
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

    def __post_init__(self) -> None:
        """Check that a quantization is measured, or need not be."""
        super().__post_init__()
        if self.quantize is not None and self.file is None and not self.allow_changes:
            raise MultiLabelError(
                f"--quantize {self.quantize} changes some predictions: measure how many with --file EXAMPLES, or add "
                "--allow_changes"
            )


def export_folder(model_dir: Path, options: ExportArguments) -> dict[str, Any]:
    """Export a trained model, completely or not at all.

    Args:
        model_dir: A folder that a training run or `save_pretrained` wrote.
        options: What to write and where, and the examples to compare on.

    Returns:
        The content of `parity.json`: the `source` of the texts, the number of `rows` and `decisions`, the `tolerance`
        in float32, and for each precision (`"float32"`, and `"int8"` if requested) the fields of `Parity`.

    Raises:
        MultiLabelError: If `model_dir` is not a model directory, the output exists already, or the data is bad.
        ParityError: If the export differs too much from the original; nothing is written then.
    """
    # These import what is not part of the plain install.
    from . import onnx_model
    from .onnx_graph import quantize, write_graph

    with atomic_folder(Path(options.output)) as folder:
        model, tokenizer = load_trained(model_dir)
        tokenizer = scoring_tokenizer(tokenizer, model.config)
        limit, wanted = tokenizer.model_max_length, options.max_seq_length
        if wanted is not None and wanted > limit:
            raise MultiLabelError(f"max_seq_length={wanted} is more than the {limit} tokens that this model can take")
        tokenizer.model_max_length = limit if wanted is None else wanted
        tokenizer("", truncation=True)  # raises an error if label tokens leave no room for text
        sample = _sample(model_dir, options, model.config, tokenizer)
        _report(f"Predicting {len(sample.texts):,} texts with the original model ({sample.source})...")
        before = original_logits(model, tokenizer, sample)  # (N, L)

        _report("Converting the model to ONNX (about a minute for a model of BERT's size)...")
        graph_file = folder / onnx_model.MODEL_FILE
        write_graph(graph_file, model, tokenizer)
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.save(str(folder / onnx_model.TOKENIZER_FILE))
        for module in (onnx_model, decision, label_rules, likeliest_sets):
            shutil.copy(str(module.__file__), folder)

        _report("Predicting them with the export...")
        parities = {"float32": compare(model.config, before, onnx_model.OnnxModel(folder), sample)}
        check_parity(parities["float32"], sample)
        if options.quantize is not None:
            _report(f"Quantizing to {options.quantize} and predicting again...")
            quantize(graph_file, model)
            parity = compare(model.config, before, onnx_model.OnnxModel(folder), sample)
            if not options.allow_changes:
                check_quantized(parity, options.quantize)
            parities[options.quantize] = parity
        report = {
            "source": sample.source,
            "rows": len(sample.texts),
            "decisions": before.numel(),
            "tolerance": TOLERANCE,
            **{precision: _known(parity) for precision, parity in parities.items()},
        }
        write_json(folder / PARITY_FILE, report)
    return report


def _known(parity: Parity) -> dict[str, float]:
    return {name: value for name, value in asdict(parity).items() if value is not None}


def _sample(
    model_dir: Path, options: ExportArguments, config: MultiLabelConfig, tokenizer: MultiLabelTokenizer
) -> Sample:
    """Read the examples of `--file`, or make some up."""
    file = options.file
    if file is None:
        on_pairs = config.trained_on_pairs
        return made_up_sample(tokenizer, bool(trained_pair_column(model_dir)) if on_pairs is None else on_pairs)
    if options.text_pair_column is None:
        options = replace(options, text_pair_column=trained_pair_column(model_dir))
    spec = options.spec(config.label_names)
    rows = load_splits(spec, {"test": file}).splits["test"]  # "test": texts may be empty, and labels missing
    return Sample(
        source=Path(file).name,
        texts=list(rows["text"]),
        pairs=list(rows["pair"]) if "pair" in rows.column_names else None,
        labels=multi_hot(rows) if "labels" in rows.column_names else None,
    )


def check_parity(parity: Parity, sample: Sample) -> None:
    """Raise a ParityError if a probability in float32 differs by more than `TOLERANCE`."""
    difference = parity.largest_probability_difference
    if not difference <= TOLERANCE:  # also if it is NaN
        raise ParityError(
            f"the exported model differs from the original: probabilities by up to {difference:.2g} on "
            f"{len(sample.texts)} examples of {sample.source}, where {TOLERANCE:.0e} is allowed. Nothing was written. "
            "Please report this with the versions of torch, onnxscript and onnxruntime"
        )


def check_quantized(parity: Parity, precision: str) -> None:
    """Raise a ParityError if too many examples get other labels, or the hamming score falls too much."""
    before, after = parity.hamming_score_before, parity.hamming_score_after
    loss = 0.0 if before is None or after is None else before - after
    if parity.equal_rows < LEAST_EQUAL_ROWS or loss > LARGEST_SCORE_LOSS:
        raise ParityError(
            f"{precision} changes this model too much: {describe_parity(parity)}. The limits are "
            f"{LEAST_EQUAL_ROWS:.0%} of the examples and a loss of {LARGEST_SCORE_LOSS}. Nothing was written. Export "
            "in float32 (without --quantize), or accept these changes with --allow_changes"
        )


def describe_parity(parity: Parity) -> str:
    """Describe a comparison in a sentence.

    Example:
        >>> describe_parity(Parity(0.4, 0.08, 0.998, 0.944, 0.536, 0.524))  # doctest: +ELLIPSIS
        '94.40% of the examples keep all their labels (99.80% of all decisions stay), ..., 0.5240 after'
    """
    kept = f"{parity.equal_rows:.2%} of the examples keep all their labels"
    kept += f" ({parity.equal_decisions:.2%} of all decisions stay)"
    if parity.hamming_score_before is None:
        return kept
    return f"{kept}, hamming score {parity.hamming_score_before:.4f} before, {parity.hamming_score_after:.4f} after"


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
        check_installed("exporting", "onnx")
        report = export_folder(others.model_dir, options)
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
