"""A network as a standalone ONNX file, and the proof that it computes the same."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.nas.classifier import ImageClassifier
from core.nas.images import LabelledImages
from core.nas.network import unfold

_PARITY_BATCH = 256


class _Deployed(nn.Module):
    # What a caller without our code needs: bytes scaled to 0..1 in, probabilities out.

    scale: Tensor
    offset: Tensor

    def __init__(self, network: ImageClassifier, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("scale", (1 / std).reshape(-1, 1, 1))
        self.register_buffer("offset", (mean / std).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images * self.scale - self.offset)
        return logits, logits.softmax(dim=-1)


def onnx_bytes(network: ImageClassifier, mean: Tensor, std: Tensor, resolution: int) -> bytes:
    """The network as one self-contained ONNX model.

    Input ``images``: float32 ``[N, C, H, W]`` in 0..1, any N. Outputs ``logits`` and
    ``probabilities``: float32 ``[N, K]``. Normalisation is part of the graph.

    Args:
        network: Exported in evaluation mode; unchanged.
        mean: ``[C]`` on the 0..1 scale.
        std: ``[C]`` on the 0..1 scale, positive.
        resolution: H and W.

    Returns:
        A serialised ``ModelProto`` without external data.
    """
    deployed = _Deployed(unfold(network).cpu().float(), mean.cpu(), std.cpu()).eval()
    images = torch.zeros(2, len(mean), resolution, resolution)
    # The exporter deprecates its own internals and reports its progress on standard output.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits", "probabilities"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            external_data=False,
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    serialised: bytes = _without_metadata(program.model_proto).SerializeToString()
    return serialised


@torch.no_grad()
def parity(exported: bytes, network: ImageClassifier, images: LabelledImages) -> float:
    """Largest difference between what the file and the network answer.

    Args:
        exported: What `onnx_bytes` returned.
        network: The network it came from; its mode is restored.
        images: At least one, with the exported mean and deviation.

    Returns:
        Largest absolute difference over images, classes and both outputs, logits and
        probabilities; compare with 1e-4.
    """
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    training = network.training
    network.eval()
    device = network.classifier.weight.device
    worst = 0.0
    for part in torch.split(images.images, _PARITY_BATCH):
        logits, probabilities = session.run(
            ["logits", "probabilities"], {"images": (part.cpu().float() / 255).numpy()}
        )
        expected = network(images.normalise(part).to(device)).cpu()
        pairs = ((logits, expected), (probabilities, expected.softmax(dim=1)))
        worst = max(worst, *(_apart(got, wanted) for got, wanted in pairs))
    network.train(training)
    return worst


def _apart(got: NDArray[np.float32], expected: Tensor) -> float:
    return float(np.abs(got - expected.numpy()).max())


def _without_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    # The exporter records stack traces: paths and source lines of the machine that exported.
    graph = model.graph
    for values in (graph.node, graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            del value.metadata_props[:]
            value.doc_string = ""
    del graph.value_info[:]
    del graph.metadata_props[:], model.metadata_props[:]
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"
    return model
