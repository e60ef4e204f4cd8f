"""Which known images a network finds most alike: its exported trunk with an index behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from core.nas.images import LabelledImages
from core.nas.network import Network

MOST_KNOWN, MOST_TOLD = 1_000, 20
_BATCH = 256
_EXACT = 2**24  # float32 counts so far


def stratified(labels: Tensor, most: int = MOST_KNOWN) -> Tensor:
    """Places of at most so many images, in rising order: as many of each class as there are, the
    first ones of each; none that a 32-bit float could not tell.

    Args:
        labels: ``[N]`` int64.
        most: Places at most.
    """
    labels = labels[:_EXACT]
    counts = labels.bincount()
    order = labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    turns = torch.empty_like(labels)  # the how many-th of its class each image is
    turns[order] = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    return turns.argsort(stable=True)[:most].sort().values


@torch.no_grad()
def index_bytes(exported: bytes, network: Network, known: LabelledImages, places: Tensor) -> bytes:
    """An ONNX model that says which of some images are most alike, by the cosine of features.

    Input as that of `exported`. Outputs ``similarities``, ``places`` and ``labels``: float32
    ``[N, k]``, the most similar first; k is 20, or as many as there are.

    Args:
        exported: What `core.nas.export.onnx_bytes` made of the network: its weights are used.
        network: On the CPU; its mode is restored.
        known: The images, on the CPU, at least one.
        places: ``[n]`` int64: where each of them is in its split.

    Raises:
        ValueError: the graph does not end in one linear head.
    """
    training = network.training
    network.eval()
    features = torch.cat([network.features(batch) for batch, _ in known.batches(_BATCH)])
    network.train(training)
    units = torch.nn.functional.normalize(features, dim=1)
    tables = {
        "known": units.T.numpy(),
        "known_places": places.numpy(),
        "known_labels": known.labels.numpy(),
        "told": np.array([min(MOST_TOLD, len(known))]),
    }
    return _with_index(onnx.load_from_string(exported), tables)


def _with_index(model: onnx.ModelProto, tables: dict[str, NDArray[np.generic]]) -> bytes:
    graph = model.graph
    heads = [node for node in graph.node if "logits" in node.output]
    if [node.op_type for node in heads] != ["Gemm"]:
        raise ValueError(f"the graph's head is {[node.op_type for node in heads]}, not one Gemm")
    (head,) = heads
    kept = [node for node in graph.node if node is not head and node.op_type != "Softmax"]
    nodes = [
        *kept,
        helper.make_node("LpNormalization", [head.input[0]], ["unit"], axis=-1, p=2),
        helper.make_node("MatMul", ["unit", "known"], ["cosines"]),
        helper.make_node("TopK", ["cosines", "told"], ["similarities", "nearest"], axis=-1),
        helper.make_node("Gather", ["known_places", "nearest"], ["places"]),
        helper.make_node("Gather", ["known_labels", "nearest"], ["labels"]),
    ]
    used = {name for node in kept for name in node.input}
    weights = [each for each in graph.initializer if each.name in used]
    weights += [
        numpy_helper.from_array(
            table if name == "told" else np.ascontiguousarray(table, np.float32), name
        )
        for name, table in tables.items()
    ]
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    shape: Sequence[str | int] = (batch, int(tables["told"][0]))
    told = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("similarities", "places", "labels")
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "alike", list(graph.input), told, weights),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        functions=model.functions,
    )
    serialised: bytes = made.SerializeToString()
    return serialised
