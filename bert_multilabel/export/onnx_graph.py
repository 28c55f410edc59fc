"""Converts a trained model to an ONNX graph, in float32 or with integer matrix products."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from bert_multilabel.engines.graph import INPUTS, no_warnings, to_graph
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer

from .graph_model import GraphModel

# Several texts of different lengths to trace the model with, so that neither number becomes a constant.
_EXAMPLES = ["a", "some text", "some text that is longer"]
# Weights of the matrix products that become integer products. The head is small, and stays in float32.
_QUANTIZED_WEIGHTS = re.compile(r"layer\.\d+\..*\.weight$")
_BLOCK = 32  # values with a scale of their own: with 128 three times as many decisions change
_INTEGER_ACTIVATIONS = 4  # a level of accuracy of the operator MatMulNBits


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
    """Make of the graph that `write_graph` wrote for a model one with integer matrix products in the encoder's layers.

    Weights and activations are 8-bit integers with a scale for each `_BLOCK` values, so that a large value costs
    the precision of its block alone. Embeddings are stored in float16. The rest stays in float32.
    """
    graph = onnx.load(path)
    chosen = set(_quantized_products(graph.graph, model))
    # The shapes are inferred again: transposed weights keep the old ones.
    del graph.graph.value_info[:]
    _store_embeddings_in_float16(graph.graph)
    excluded = [node.name for node in graph.graph.node if node.op_type == "MatMul" and node.name not in chosen]
    how = {"block_size": _BLOCK, "is_symmetric": True, "accuracy_level": _INTEGER_ACTIVATIONS}
    settings = DefaultWeightOnlyQuantConfig(bits=8, op_types_to_quantize=("MatMul",), **how)
    with no_warnings():
        quantizer = MatMulNBitsQuantizer(graph, bits=8, nodes_to_exclude=excluded, algo_config=settings, **how)
        quantizer.process()
    quantizer.model.save_model_to_file(str(target))


def _quantized_products(graph: onnx.GraphProto, model: MultiLabelPreTrainedModel) -> Iterator[str]:
    """Yield the names of the matrix products to quantize.

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
        if node.op_type == "MatMul" and node.input[1] in constants:
            yield node.name


def _store_embeddings_in_float16(graph: onnx.GraphProto) -> None:
    """Look up vectors in tables of float16, and convert those that were found to float32."""
    tables = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    for index, node in reversed([*enumerate(graph.node)]):
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
            continue
        if table.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(table).astype(np.float16)
            table.CopyFrom(onnx.numpy_helper.from_array(values, table.name))
        found, half = node.output[0], f"{node.output[0]}_float16"
        node.output[0] = half
        graph.node.insert(index + 1, onnx.helper.make_node("Cast", [half], [found], to=onnx.TensorProto.FLOAT))
