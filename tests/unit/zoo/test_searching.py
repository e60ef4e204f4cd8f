"""The whole way: trained by a job, out as a file, into another registry, and a search from it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.db import schema
from core.db.sessions import Sessions
from core.domain.datasets import Dataset
from core.domain.identity import DEFAULT
from core.domain.searches import (
    PretrainSpec,
    SearchSpec,
    SpaceSpec,
    StartPolicy,
    Training,
)
from core.domain.supernets import lineage
from core.domain.work import PretrainInputs, SearchInputs
from core.pipelines import notes, pretrain_supernet, search_architecture
from core.pipelines.context import Stopped
from core.services import supernets
from core.zoo import entry
from tests.unit.pipelines.conftest import (
    World,
    packed,
    packed_once,
    registered,
    stripes,
    world,
)
from tests.unit.services.samples import dataset

__all__ = ["packed", "packed_once", "registered", "stripes", "world"]

EMBEDDER = "oriented-energy@1"
SPACE = SpaceSpec(channels=2, layers=3, nodes=2, resolution=16)
TRAINING = Training(epochs=2, batch_size=16, seed=3)


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[tuple[Sessions, Sessions]]:
    """The registry of the service that trained it, and that of another."""
    urls = [f"sqlite:///{tmp_path / name}" for name in ("here.db", "elsewhere.db")]
    for url in urls:
        schema.migrate(url)
    here, elsewhere = (Sessions(each).within(DEFAULT) for each in urls)
    yield here, elsewhere
    here.dispose()
    elsewhere.dispose()


def test_a_search_starts_from_what_another_service_trained(
    world: World,
    registered: Callable[..., Dataset],
    registries: tuple[Sessions, Sessions],
    tmp_path: Path,
) -> None:
    here, elsewhere = registries
    source, target = registered("source"), registered("target", seed=2)
    spec = PretrainSpec(source.id, "net", EMBEDDER, SPACE, TRAINING)
    outcome = pretrain_supernet.run(PretrainInputs(spec, source, None), world)
    with here.begin() as session:
        trained, _ = supernets.register(
            session,
            name="net",
            dataset_id=dataset(session).id,
            job_id=None,
            space=outcome.space,
            resolution=outcome.resolution,
            key=outcome.key,
            sha256=outcome.sha256,
            metrics=outcome.metrics,
            seconds=outcome.seconds,
            lineage=lineage([source]),
        )
    entry.bundle_of(trained, tmp_path / "net.safetensors", store=world.store)
    imported, _ = entry.enter(tmp_path / "net.safetensors", sessions=elsewhere, store=world.store)
    with elsewhere.read() as session:
        shared = supernets.shared(session)
    asked = SearchSpec(
        target.id,
        EMBEDDER,
        StartPolicy.SUPERNET,
        imported.id,
        training=TRAINING,
    )
    world.checkpoints.clear()  # the search is a job of its own
    world.records.clear()
    world.stop_after = 2  # what follows is the same for every start
    with pytest.raises(Stopped):
        search_architecture.run(SearchInputs(asked, target, None, (), shared=shared), world)
    written = notes.read(world.checkpoints[-1][1])
    assert written.start["supernet_id"] == str(imported.id)
    assert (written.start["space"], written.start["resolution"]) == (trained.space, 16)
    assert written.live_history
