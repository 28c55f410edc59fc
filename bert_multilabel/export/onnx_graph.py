"""A trained model in, the graph that onnxruntime computes out: as float32, or with integer products."""

import ast
import json
import re
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import quantize_dynamic

from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.model.tokenization_multilabel import MultiLabelTokenizer

# What the graph is traced with: several texts, of several lengths, so that neither number becomes a constant.
_EXAMPLES = ["a", "some text", "some text that is longer"]

# What the file says of itself, beside the limits of the texts.
_OF_CONFIG = ("label_names", "strategy", "threshold", "temperature", "min_labels")

# The modules whose products stay float32 when others become integers: the second one of each feed-forward block, whose
# inputs range widest, so that it alone changes almost half of all decisions that change; and the head, which is small.
_KEPT_EXACT = re.compile(r"layer\.\d+\.output\.dense/|^classifier\.")


def write_graph(path: Path, model: MultiLabelPreTrainedModel, reader: MultiLabelTokenizer) -> None:
    """Write a model as one ONNX file, which also says how to feed it and how to decide on its logits.

    The graph takes `input_ids`, `attention_mask` and `token_type_ids`, int64 (B, T) of any B and T, and gives
    `logits`, float32 (B, L).

    Args:
        path: Where to.
        model: Any of this package's models, in evaluation mode; it will record no states or attentions from here on.
        reader: What reads texts for it: `scoring_tokenizer(tokenizer, config)`; its `model_max_length` is what holds.
    """
    batch = reader(_EXAMPLES, padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}  # (B, T) each
    # Each input has the sizes of the first, which gives them their names.
    sizes = {name: {axis: torch.export.Dim.DYNAMIC for axis in (0, 1)} for name in inputs}
    sizes["input_ids"] = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    # What a model records on the way would be outputs, too.
    model.config.output_attentions = model.config.output_hidden_states = False
    program = torch.onnx.export(
        model,
        kwargs=inputs,
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_shapes=sizes,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    graph = program.model_proto  # type: ignore[union-attr]  # with dynamo there is one
    _name_nodes(graph.graph)
    fields = {
        **{name: getattr(model.config, name) for name in _OF_CONFIG},
        "labels_stand_apart": model.config.encodes_text_separately,  # the name that earlier exports have, too
        "max_length": reader.model_max_length,
        "truncation_side": reader.truncation_side,
    }
    onnx.helper.set_model_props(graph, {name: json.dumps(value, ensure_ascii=False) for name, value in fields.items()})
    onnx.save(graph, path)


def quantize(path: Path, source: Path) -> None:
    """Write a graph anew with 8-bit weights, whose products are computed on integers.

    Weights are quantized per output, to 7 bits: sums then do not overflow on processors without VNNI, and no more
    decisions change. Activations are quantized as they come, so that a text's logits depend a little on its batch.

    Args:
        path: Where to.
        source: A file that `write_graph` wrote.
    """
    graph = onnx.load(source)
    exact = [node.name for node in graph.graph.node if _KEPT_EXACT.search(node.name)]
    # Noted shapes, which are inferred anew: before onnxruntime 1.30, weights that are turned around keep the old ones.
    del graph.graph.value_info[:]
    quantize_dynamic(
        graph,
        path,
        op_types_to_quantize=["MatMul", "Gather"],
        # What it takes a Gemm apart into has a name of its own.
        nodes_to_exclude=[*exact, *(f"{name}_MatMul" for name in exact)],
        per_channel=True,
        reduce_range=True,
    )


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Put before each node's name the module that it belongs to, and remove what else the exporter notes.

    Those are lines of source code, and paths of the machine that it ran on.
    """
    for node in graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        *_, module, _ = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "['', '']"))
        node.name = f"{module}/{node.name}"
    for part in (graph, *graph.node, *graph.value_info):
        del part.metadata_props[:]
