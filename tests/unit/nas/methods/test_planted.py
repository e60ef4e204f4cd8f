"""Where one operation per edge is right, every method finds it."""

from __future__ import annotations

import pytest

from core.nas import methods
from core.nas.derive import derive
from core.nas.search import SearchConfig, SearchState, run
from core.nas.space import Space
from tests.unit.nas.methods.planted import Answer, operations, plant

# The right operation is another one on each edge, so that no habit of a method gives the answer.
S3: Answer = {
    "normal": ["sep_conv_3x3", "skip_connect"],
    "reduction": ["skip_connect", "sep_conv_3x3"],
}
# Few edges: what the others happen to have is most of a measurement's noise.
SETTINGS = {"op-dropping": {"sweeps": 32}}
CONFIG = SearchConfig(
    epochs=4,
    batch_size=32,
    learning_rate=0.003,
    learning_rate_min=0.0,
    alpha_learning_rate=0.05,
    augment="none",
)


@pytest.mark.parametrize("name", methods.METHODS)
def test_finds_the_planted_operations(name: str) -> None:
    partial = 4 if name == "pc-darts" else 1
    space = Space(channels=8, layers=3, nodes=1, input_channels=1, cells="s3", partial=partial)
    supernet, images = plant(space, S3)
    state = SearchState(supernet, methods.create(name, supernet, **SETTINGS.get(name, {})))
    list(run(state, *images.halves(0), CONFIG))
    assert operations(derive(supernet, state.method.preference)) == S3
