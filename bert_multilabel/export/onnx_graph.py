"""Converts a trained model to an ONNX graph, in float32 or with integer matrix products."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import onnx
from onnxruntime.quantization import quantize_dynamic

from bert_multilabel.engines.graph import INPUTS, no_warnings, to_graph
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer

from .graph_model import GraphModel

# Several texts of different lengths to trace the model with, so that neither number becomes a constant.
_EXAMPLES = ["a", "some text", "some text that is longer"]
# Weights of the matrix products that become integer products. The second linear layer of each feed-forward block stays
# in float32, because its inputs vary most (quantizing it causes almost half of all changed decisions), and so does the
# head, which is small. Whole encoder layers in float32 do not help.
_QUANTIZED_WEIGHTS = re.compile(r"layer\.\d+\.(attention\.|intermediate\.).*\.weight$")


def write_graph(path: Path, model: MultiLabelPreTrainedModel, tokenizer: MultiLabelTokenizer) -> None:
    """Write a model as one ONNX file, which also stores its limit in tokens and how to decide on its logits.

    The graph takes `input_ids`, `attention_mask` and `token_type_ids`, int64 (B, T), and returns `logits`, float32
    (B, L), as `GraphModel` does.

    Args:
        path: The file to write.
        model: A model in evaluation mode; afterwards it no longer returns hidden states or attentions.
        tokenizer: Its tokenizer without label tokens; its `model_max_length` is stored.
    """
    batch = tokenizer(_EXAMPLES, padding=True, truncation=True, return_tensors="pt")
    inputs = {name: batch[name] for name in INPUTS}  # (B, T) each
    # They would become outputs of the graph.
    model.config.output_attentions = model.config.output_hidden_states = False
    module = GraphModel(model, cast(int, tokenizer.sep_token_id), tokenizer.model_max_length).eval()
    graph = to_graph(module, inputs)
    fields = _stored_fields(model.config, tokenizer)
    onnx.helper.set_model_props(graph, {name: json.dumps(value, ensure_ascii=False) for name, value in fields.items()})
    onnx.save(graph, path)


def _stored_fields(config: MultiLabelConfig, tokenizer: MultiLabelTokenizer) -> dict[str, Any]:
    """Return what `OnnxModel` reads from the metadata of a graph."""
    names = ("label_names", "strategy", "threshold", "min_labels", "decision", "label_rules")
    return {
        **{name: getattr(config, name) for name in names},
        "temperature": 1.0,  # the logits are divided by the model's own
        "labels_stand_apart": config.strategy == "label_tokens",  # the name in earlier exports
        "max_length": tokenizer.model_max_length,
        "truncation_side": tokenizer.truncation_side,
    }


def quantize(path: Path, target: Path, model: MultiLabelPreTrainedModel) -> None:
    """Make of the graph that `write_graph` wrote for a model one with 8-bit weights and integer matrix products.

    Weights are quantized per output, to 7 bits: sums then do not overflow on processors without VNNI, and no more
    decisions change. Activations are quantized dynamically, so the logits of a text depend a little on its batch.
    """
    graph = onnx.load(path)
    # The shapes are inferred again: before onnxruntime 1.30, transposed weights keep the old ones.
    del graph.graph.value_info[:]
    with no_warnings():
        quantize_dynamic(
            graph,
            target,
            op_types_to_quantize=["MatMul", "Gather"],
            nodes_to_quantize=list(_quantized_nodes(graph.graph, model)),
            per_channel=True,
            reduce_range=True,
        )


def _quantized_nodes(graph: onnx.GraphProto, model: MultiLabelPreTrainedModel) -> Iterator[str]:
    """Yield the names of the lookups and of the matrix products to quantize.

    The exporter transposes weights into constants without their names, so they are recognized by their values.
    """
    weights = {
        weight.detach().t().contiguous().numpy().tobytes()
        for name, weight in model.named_parameters()
        if weight.ndim == 2 and _QUANTIZED_WEIGHTS.search(name)
    }
    constants = {
        tensor.name for tensor in graph.initializer if onnx.numpy_helper.to_array(tensor).tobytes() in weights
    }
    for node in graph.node:
        if node.op_type == "Gather" or (node.op_type == "MatMul" and node.input[1] in constants):
            yield node.name
