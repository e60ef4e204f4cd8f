"""A search's checkpoint gives back what was noted, also one that an earlier version wrote."""

from uuid import uuid4

import torch

from core.domain.datasets import DatasetId, Embedding
from core.domain.supernets import SupernetId
from core.domain.work import Source, StartingPoint
from core.pipelines import checkpoint_file, notes
from core.pipelines.notes import Notes
from core.services import wire
from tests.unit.pipelines.conftest import World

POINT = StartingPoint(
    id=SupernetId(uuid4()),
    name="net",
    space={"channels": 2},
    resolution=16,
    key="default/supernets/net",
    sha256="0" * 64,
)


def test_what_was_noted_comes_back(world: World) -> None:
    written = Notes(None, None, {"policy": "race"}, POINT, arms=[{"seconds": 1.0}], best_arm=0)
    written.best = {"stem": torch.ones(2)}
    written.save(world)
    found = notes.read(world.checkpoints[-1][1])
    assert torch.equal(found.best.pop("stem"), written.best.pop("stem"))
    assert found == written


def test_an_earlier_version_kept_the_whole_source(world: World) -> None:
    dataset = DatasetId(uuid4())
    embedding = Embedding(dataset, "e@1", "key", "0" * 64, 2, 3, 1.0)
    source = Source(dataset, "letters", ("a", "b"), embedding, supernet=POINT)
    Notes(None, None, {"policy": "nearest"}).save(world)
    _, state = checkpoint_file.read(world.checkpoints[-1][1])
    del state["supernet"]
    path = world.scratch / "earlier"
    checkpoint_file.write(path, {}, state | {"source": wire.dump(source)})
    assert notes.read(path).supernet == POINT
