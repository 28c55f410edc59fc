"""Makes scorers whose logits an engine computes."""

from os import PathLike

import torch

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.loading import load_trained
from bert_multilabel.model.choices import PRECISIONS
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.scoring import MultiLabelScorer, store_in_bfloat16
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer

from .choice import ENGINES, GRAPH_ENGINES, check_device, check_engine
from .compiled import use_compiled

# Texts of which an engine has to make the same logits as torch, once when it is made.
_TRIALS = [" ".join(["a text"] * (1 + number % 5)) for number in range(30)]
_TOLERANCES = {"float32": 1e-3, "bfloat16": 0.5}  # of logits


def load_scorer(
    folder: str | PathLike[str],
    engine: str = ENGINES[0],
    precision: str = PRECISIONS[0],
    max_length: int | None = None,
    device: str | None = None,
) -> MultiLabelScorer:
    """Load a trained model to predict with it, and nothing else.

    Args:
        folder: Of the model.
        engine: One of `ENGINES`.
        precision: Precision of the matrix products, one of `PRECISIONS`.
        max_length: Longest input in tokens; default: the model's limit.
        device: Device to compute on; default: an accelerator, if there is one and the engine can use it, else the CPU.

    Raises:
        MultiLabelError: If the folder is not a model directory, or as `make_scorer`.
    """
    check_engine(engine, precision)
    model, tokenizer = load_trained(folder)
    if device is None and engine not in GRAPH_ENGINES and torch.accelerator.is_available():
        device = str(torch.accelerator.current_accelerator())
    model.to(device or "cpu")  # type: ignore[arg-type]  # the declared type of this method has lost its self
    if precision == "bfloat16" and engine not in GRAPH_ENGINES:
        store_in_bfloat16(model)
    return make_scorer(model, tokenizer, engine, precision, max_length)


def make_scorer(
    model: MultiLabelPreTrainedModel,
    tokenizer: MultiLabelTokenizer,
    engine: str = ENGINES[0],
    precision: str = PRECISIONS[0],
    max_length: int | None = None,
) -> MultiLabelScorer:
    """Make a scorer of a model in memory.

    With "onnx" and "openvino", it scores with the weights that the model has now, and computes with as many threads as
    torch does now.

    Args:
        model: Any of this package's models.
        tokenizer: The model's.
        engine: One of `ENGINES`.
        precision: Precision of the matrix products, one of `PRECISIONS`.
        max_length: Longest input in tokens; default: the model's limit.

    Raises:
        FileError: If the graph of the model cannot be written.
        MissingDependencyError: If a package of the engine is not installed.
        MultiLabelError: If the engine is unknown, or does not fit the precision, the device or this machine; if the
            model cannot take `max_length`; or if the engine computes other logits than torch.
    """
    check_engine(engine, precision)
    check_device(engine, model.device.type)
    scorer = MultiLabelScorer(model, tokenizer, precision, max_length)
    if engine == "compile":
        use_compiled(scorer, model)
    elif engine in GRAPH_ENGINES:
        _use_graph(scorer, model, engine, precision)
    return scorer


def _use_graph(scorer: MultiLabelScorer, model: MultiLabelPreTrainedModel, engine: str, precision: str) -> None:
    """Let a scorer compute with the graph of its model, if that computes what the model does."""
    from . import graph_engines  # needs what is not part of the plain install
    from .graph import cached_graph

    make = {"onnx": graph_engines.onnx_engine, "openvino": graph_engines.openvino_engine}[engine]
    graph = cached_graph(model)
    texts = (_TRIALS, _TRIALS if scorer.config.trained_on_pairs else None)
    expected = scorer.logits(*texts)  # (N, L)
    scorer.engine = make(graph, precision, torch.get_num_threads())
    difference = float((scorer.logits(*texts) - expected).abs().max())
    if not difference <= _TOLERANCES[precision]:  # also if it is NaN
        raise MultiLabelError(
            f"engine {engine!r} computes other logits than torch, by up to {difference:.2g}, where "
            f"{_TOLERANCES[precision]} is allowed in {precision}: choose another engine, and please report this"
        )
