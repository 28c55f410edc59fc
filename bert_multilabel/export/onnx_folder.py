"""Writes a model as a folder that onnxruntime runs, here and in tools that know only stock models.

It holds `onnx/model.onnx`, or `onnx/model_quantized.onnx`; `config.json`, `tokenizer.json` and `tokenizer_config.json`
of a stock classifier; `onnx_model.py` and the files that it imports, which run the model with only onnxruntime, numpy
and tokenizers; and `parity.json`.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from bert_multilabel.loading import load_trained
from bert_multilabel.model import decision, label_rules, likeliest_sets
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.files import atomic_folder, write_json

from .arguments import ExportArguments
from .parity import PARITY_FILE, check_parity, check_quantized, compare, export_sample, original_logits, parity_report
from .stock_card import left_behind
from .stock_config import stock_config
from .stock_tokenizer import limit_tokenizer, save_stock_tokenizer

TOLERANCE = 1e-4  # of probabilities in float32; rounding explains about 1e-6
_report = partial(print, flush=True)


def export_onnx(model_dir: Path, options: ExportArguments) -> dict[str, Any]:
    """Export a trained model, completely or not at all.

    Args:
        model_dir: A folder that a training run or `save_pretrained` wrote.
        options: What to write and where, and the examples to compare on.

    Returns:
        The content of `parity.json`, as `parity_report` describes it.

    Raises:
        MissingDependencyError: If a package of the extra `onnx` is missing.
        MultiLabelError: If `model_dir` is not a model directory, the output exists already, or the data is bad.
        ParityError: If the export differs too much from the original; nothing is written then.
    """
    with atomic_folder(Path(options.output)) as folder:
        report, lost = write_model(model_dir, folder, options)
    _report("Its onnx_model.py decides as the original does. Other tools take it for a stock model:")
    for line in lost:
        _report(f"  - {line}")
    return report


def write_model(model_dir: Path, folder: Path, options: ExportArguments) -> tuple[dict[str, Any], list[str]]:
    """Write the files of an export into an existing folder; arguments and errors are those of `export_onnx`.

    Returns:
        The content of `parity.json`, and in sentences what other tools do not know of the model.
    """
    check_installed("exporting", "onnx")
    # These import what is not part of the plain install.
    from . import onnx_model
    from .onnx_graph import quantize

    model, tokenizer = load_trained(model_dir)
    tokenizer = limit_tokenizer(tokenizer, model.config, options.max_seq_length)
    sample = export_sample(model_dir, options, model.config, tokenizer)
    _report(f"Predicting {len(sample.texts):,} texts with the original model ({sample.source})...")
    before = original_logits(model, tokenizer, sample)  # (N, L)

    _report("Converting the model to ONNX (about a minute for a model of BERT's size)...")
    text_tokenizer = tokenizer.without_label_tokens()
    _write_files(folder, model, text_tokenizer)

    _report("Predicting them with the export...")
    parities = {"float32": compare(model.config, before, onnx_model.OnnxModel(folder), sample)}
    check_parity(parities["float32"], sample, TOLERANCE)
    if options.quantize is not None:
        _report(f"Quantizing to {options.quantize} and predicting again...")
        quantize(folder / onnx_model.MODEL_FILE, folder / onnx_model.QUANTIZED_FILE, model)
        (folder / onnx_model.MODEL_FILE).unlink()
        parity = compare(model.config, before, onnx_model.OnnxModel(folder), sample)
        if not options.allow_changes:
            check_quantized(parity, options.quantize)
        parities[options.quantize] = parity
    report = parity_report(sample, len(model.config.label_names), parities, TOLERANCE)
    write_json(folder / PARITY_FILE, report)
    return report, list(left_behind(model.config, text_tokenizer, decide_at_half=False))


def _write_files(folder: Path, model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer) -> None:
    """Write a model in float32, for stock tools and for ours; the tokenizer has no label tokens."""
    from . import onnx_model
    from .onnx_graph import write_graph

    (folder / onnx_model.MODEL_FILE).parent.mkdir()
    write_graph(folder / onnx_model.MODEL_FILE, model, tokenizer)
    save_stock_tokenizer(tokenizer, folder)
    stock_config(model.config).to_json_file(folder / "config.json")
    for module in (onnx_model, decision, label_rules, likeliest_sets):
        shutil.copy(str(module.__file__), folder)
