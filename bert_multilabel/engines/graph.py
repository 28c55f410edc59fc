"""The network of a model as an ONNX graph, for the engines that run such graphs.

Shapes: B batch, T tokens, L labels.
"""

import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import onnx
import torch
from torch import nn

from bert_multilabel.data.cache import cached_file
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.scoring import evaluating
from bert_multilabel.utils.hashing import weights_digest

logger = logging.getLogger(__name__)

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_LARGEST_FILE = 2**31  # bytes: the limit of protobuf, of which ONNX files are made


def cached_graph(model: MultiLabelPreTrainedModel) -> Path:
    """Return the file of a model's graph, made when it is not in the cache yet.

    The graph takes `INPUTS`, int64 (B, T), as a `MultiLabelScorer` makes them, and returns `logits`, float32 (B, L).

    Raises:
        FileError: If the file cannot be written.
        MultiLabelError: If a weight of the model is not of float32, or all are too large for an ONNX file.
    """
    if other := {str(weight.dtype) for weight in model.parameters()} - {"torch.float32"}:
        raise MultiLabelError(
            f"a graph is made of float32 weights, but some are {', '.join(other)}: load it in float32"
        )
    software = {package: version(package) for package in ("onnx", "onnxscript")}
    path = cached_file({"graph": weights_digest(model), **software}, ".onnx", lambda path: _write(path, model))
    logger.info("the graph of the model is in %s", path)
    return path


def _write(path: Path, model: MultiLabelPreTrainedModel) -> None:
    logger.warning("converting the model to ONNX, about a minute for a model of BERT's size; the result is kept")
    started = time.perf_counter()
    token_ids = [*(model.config.label_token_ids or []), 0, 0]  # as many label tokens as every text must have
    ids = torch.tensor([token_ids, token_ids])  # (2, L + 2)
    inputs = {name: torch.ones_like(ids) for name in INPUTS} | {"input_ids": ids}
    with evaluating(model):
        onnx.save(to_graph(_Logits(model), inputs), path)
    logger.info("converted in %.0f seconds", time.perf_counter() - started)


def to_graph(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> onnx.ModelProto:
    """Convert a network whose output are logits, (B, L), for any number of texts and tokens.

    Args:
        module: In evaluation mode; it takes the inputs as keywords.
        inputs: Examples of `INPUTS`, int64 (B, T).

    Raises:
        MultiLabelError: If the weights are too large for an ONNX file.
    """
    size = sum(weight.nbytes for weight in module.parameters())
    if size >= _LARGEST_FILE:
        raise MultiLabelError(
            f"the weights take {size / 1e9:.1f} GB, and an ONNX file at most {_LARGEST_FILE / 1e9:.1f}: use the model "
            "without a graph, by engine 'torch' or 'compile'"
        )
    # All inputs have the same sizes, which the first one names.
    sizes = {name: {axis: torch.export.Dim.DYNAMIC for axis in (0, 1)} for name in inputs}
    sizes[INPUTS[0]] = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    with no_warnings():
        program = torch.onnx.export(
            module,
            kwargs=dict(inputs),
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes=sizes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    graph = program.model_proto  # type: ignore[union-attr]  # None only without dynamo
    # The exporter stores lines of source code and paths of this machine.
    for part in (graph.graph, *graph.graph.node, *graph.graph.value_info):
        del part.metadata_props[:]
    return graph


@contextmanager
def no_warnings() -> Iterator[None]:
    """Hide the warnings of exporters about their own packages and steps."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(disabled)


class _Logits(nn.Module):
    """Returns nothing but the logits of a model."""

    def __init__(self, model: MultiLabelPreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Score all labels, (B, L), of texts, (B, T)."""
        logits: torch.Tensor = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            output_attentions=False,
            output_hidden_states=False,
        ).logits
        return logits
