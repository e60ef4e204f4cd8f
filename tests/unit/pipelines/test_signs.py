"""Every kind of job shows that it goes on between two reports, however long an epoch takes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from core.domain.datasets import Dataset
from core.domain.jobs import JobRecord, Progress
from core.domain.searches import (
    EmbedSpec,
    PretrainSpec,
    RankSpec,
    SearchSpec,
    SpaceSpec,
    StartPolicy,
    Training,
)
from core.domain.work import EmbedInputs, PretrainInputs, RankInputs, SearchInputs, Source
from core.pipelines import (
    compare_datasets,
    embed_dataset,
    pretrain_supernet,
    search_architecture,
)
from tests.unit.pipelines.conftest import World
from tests.unit.pipelines.test_jobs import source_of

EMBEDDER = "oriented-energy@1"
SPACE = SpaceSpec(channels=2, layers=3, nodes=1, resolution=8, cells="s2")
TRAINING = Training(epochs=2, batch_size=4, seed=3)
IMAGES = 48  # of the train split
Register = Callable[..., Dataset]
pytestmark = pytest.mark.usefixtures("without_onnx")


@dataclass
class Witness(World):
    """Remembers how many signs came between one report and the next, by the stage of the next."""

    between: list[tuple[str, int]] = field(default_factory=list)
    _counted: int = 0

    def report(self, progress: Progress, record: JobRecord | None = None) -> None:
        self.between.append((progress.stage, self.signs - self._counted))
        self._counted = self.signs
        super().report(progress, record)


@pytest.fixture
def witness(world: World) -> Witness:
    return Witness(world.store, world.scratch, world.kept, world.cache)


def test_a_search_with_a_race_gives_a_sign_with_every_batch(
    witness: Witness, registered: Register
) -> None:
    source, target = registered("source", seed=1), registered("target", seed=2)
    pretrained = pretrain_supernet.run(
        PretrainInputs(PretrainSpec(source.id, "net", EMBEDDER, SPACE, TRAINING), source, None),
        witness,
    )
    signs = dict(witness.between)
    assert signs["pretrain"] >= 2 * (IMAGES / 2) / TRAINING.batch_size
    spec = SearchSpec(
        target.id,
        EMBEDDER,
        StartPolicy.RACE,
        space=SPACE,
        training=replace(TRAINING, epochs=20),
        retrain_epochs=2,
        patience=2,
    )
    inputs = SearchInputs(spec, target, None, (source_of(source, pretrained),))
    witness.between.clear()
    witness.checkpoints.clear()  # the search is another job
    search_architecture.run(inputs, witness)
    stages = [stage for stage, _ in witness.between]
    assert {"race", "search:0", "select", "retrain", "export"} <= set(stages)
    raced = [signs for stage, signs in witness.between if stage == "race" and signs]
    assert len(raced) >= 2  # both contestants
    trained = [signs for stage, signs in witness.between if stage == "search:0"]
    assert trained[-1] >= 2 * (IMAGES / 2) / TRAINING.batch_size
    retrained = [signs for stage, signs in witness.between if stage == "retrain"]
    assert retrained[-1] >= 0.8 * IMAGES / TRAINING.batch_size


def test_a_pretraining_on_several_datasets_does_too(
    witness: Witness, registered: Register
) -> None:
    one, two = registered("one", seed=1), registered("two", classes=2, seed=2)
    spec = PretrainSpec(one.id, "net", EMBEDDER, SPACE, TRAINING, others=(two.id,), steps=6)
    pretrain_supernet.run(PretrainInputs(spec, one, None, others=(two,)), witness)
    rounds = [signs for stage, signs in witness.between if stage == "pretrain"][1:]
    assert len(rounds) == TRAINING.epochs
    assert min(rounds) >= spec.steps


def test_an_embedding_and_a_ranking_do_too(witness: Witness, registered: Register) -> None:
    spec = EmbedSpec(registered("target", seed=1).id, EMBEDDER)
    target = registered("again", seed=1)
    sources = []
    for seed in (2, 3):
        dataset = registered(f"source {seed}", seed=seed)
        embedded = embed_dataset.run(EmbedInputs(replace(spec), dataset, None), witness)
        sources.append(Source(dataset.id, dataset.name, dataset.classes, embedded.embedding))
    reports = [stage for stage, _ in witness.between]
    assert reports.count("embed") >= 2 * len(sources)  # one a batch: a report is a sign itself
    before = witness.signs
    ranked = RankSpec(target.id, EMBEDDER, k=2)
    compare_datasets.run(RankInputs(ranked, target, None, tuple(sources)), witness)
    assert witness.signs >= before + len(sources)
