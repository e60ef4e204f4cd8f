"""The index answers what NumPy computes from the network's features."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from core.nas import alike
from core.nas.export import onnx_bytes
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.network import Network
from core.nas.normalisation import reestimate
from core.nas.space import Space


@pytest.mark.parametrize(
    ("labels", "most", "expected"),
    [
        ([0, 0, 0, 0, 1, 2], 4, [0, 1, 4, 5]),
        ([2, 0, 2, 0, 0], 3, [0, 1, 2]),  # a class without images has none
        ([0, 1], 9, [0, 1]),
    ],
)
def test_as_many_of_each_class(labels: list[int], most: int, expected: list[int]) -> None:
    assert alike.stratified(torch.tensor(labels), most).tolist() == expected


@pytest.mark.slow
def test_the_nearest_by_cosine_of_features(
    digits: LabelledImages, space: Space, genotype: Genotype
) -> None:
    network = Network(space, genotype, 10, torch.Generator().manual_seed(0))
    reestimate(network, digits.batches(600))
    places = alike.stratified(digits.labels, 60)
    exported = onnx_bytes(network, digits.mean, digits.std, 8)
    made = alike.index_bytes(exported, network, digits.take(places), places)
    session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    asked = digits.images[100:103]
    found = session.run(
        ["similarities", "places", "labels"], {"images": asked.numpy().astype(np.float32) / 255}
    )
    network.eval()
    with torch.no_grad():
        units = [
            torch.nn.functional.normalize(network.features(digits.normalise(each)), dim=1)
            for each in (asked, digits.images[places])
        ]
    expected, at = (units[0] @ units[1].T).topk(20, dim=1)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    assert found[1][:, 0].tolist() == places[at[:, 0]].tolist()
    assert np.array_equal(found[2], digits.labels.numpy()[found[1].astype(int)])
    own = session.run(["places"], {"images": digits.images[places[:2]].numpy() / np.float32(255)})
    assert own[0][:, 0].tolist() == places[:2].tolist()  # nothing is more like an image than it
