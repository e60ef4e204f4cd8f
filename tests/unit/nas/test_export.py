"""The ONNX file is the network, for any batch, with nothing outside and nothing private."""

from __future__ import annotations

import hashlib
from contextlib import closing

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from core.config import InferenceSettings
from core.domain.searches import Artifact
from core.inference.batching import Inference
from core.nas.export import onnx_bytes, parity
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.network import Network
from core.nas.normalisation import reestimate
from core.nas.space import Space
from tests.fixtures.onnx_models import answered, same

Exported = tuple[bytes, Network]


@pytest.fixture(scope="module")
def exported(digits: LabelledImages, space: Space, genotype: Genotype) -> Exported:
    network = Network(space, genotype, 10, torch.Generator().manual_seed(0))
    reestimate(network, digits.batches(600))
    return onnx_bytes(network, digits.mean, digits.std, 8), network


def test_outputs_match_torch(exported: Exported, digits: LabelledImages) -> None:
    model, network = exported
    assert parity(model, network, digits) < 1e-4
    with torch.no_grad():
        network.classifier.bias.add_(0.5)
    assert parity(model, network, digits) == pytest.approx(0.5, abs=1e-4)
    with torch.no_grad():
        network.classifier.bias.sub_(0.5)
    assert parity(model, network, digits) < 1e-4


def test_one_wrong_class_counts_in_full(exported: Exported, digits: LabelledImages) -> None:
    model, network = exported
    with torch.no_grad():
        network.classifier.bias[0] += 5
        assert parity(model, network, digits) == pytest.approx(5, abs=1e-3)
        network.classifier.bias[0] -= 5


@pytest.mark.parametrize("count", [1, 3])
def test_any_batch_and_probabilities(
    exported: Exported, digits: LabelledImages, count: int
) -> None:
    session = onnxruntime.InferenceSession(exported[0], providers=["CPUExecutionProvider"])
    images = digits.images[:count].float().numpy() / 255
    logits, probabilities = session.run(["logits", "probabilities"], {"images": images})
    assert logits.shape == probabilities.shape == (count, 10)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert [i.name for i in session.get_inputs()] == ["images"]
    assert [o.name for o in session.get_outputs()] == ["logits", "probabilities"]


def test_served_in_batches_it_answers_the_same_to_the_bit(
    exported: Exported, digits: LabelledImages
) -> None:
    model = exported[0]
    file = Artifact("model.onnx", "", hashlib.sha256(model).hexdigest(), len(model), "")
    images = digits.images[:20].float().numpy() / np.float32(255)
    expected = answered(model, images)
    with closing(Inference(InferenceSettings())) as inference:
        asked = [inference.submit(file, lambda: model, image[None]) for image in images]
        asked.append(inference.submit(file, lambda: model, images))
        *single, whole = [each.result(timeout=60)[1] for each in asked]
    assert all(map(same, whole, expected))
    for place, wanted in enumerate(expected):
        assert same(np.concatenate([each[place] for each in single]), wanted)


def test_the_file_stands_alone_and_tells_nothing_of_its_maker(exported: Exported) -> None:
    model = onnx.load_from_string(exported[0])
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert b".py" not in exported[0]
    assert b"stack_trace" not in exported[0]
