"""A retraining as asked for: every option reaches the loop, and a stopped one ends the same."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
import torch

from core.domain.datasets import DatasetId
from core.domain.searches import Retraining, SearchSpec, Training
from core.nas.derive import derive
from core.nas.images import LabelledImages
from core.nas.space import Space
from core.pipelines import bilevel, derivation
from core.pipelines.context import Stopped
from core.pipelines.meter import Meter
from core.pipelines.notes import Notes
from tests.unit.pipelines.conftest import World

SPACE = Space(channels=2, layers=3, nodes=2, input_channels=1)
EVERYTHING = Retraining(
    augment="cutout",
    flip=True,
    drop_path=0.1,
    auxiliary=0.4,
    label_smoothing=0.1,
    ema=0.9,
    distillation=0.5,
    precision="bf16",
    solve_head=True,
    budget_seconds=600.0,
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # Bitwise comparisons hold for a fixed number of threads; one is fastest for tiny tensors.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def spec_of(retraining: Retraining, epochs: int = 3) -> SearchSpec:
    return SearchSpec(
        DatasetId(uuid4()),
        "oriented-energy@1",
        training=Training(batch_size=16),
        retrain_epochs=epochs,
        retraining=retraining,
    )


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    labels = torch.arange(60) % 3
    noise = torch.randint(0, 60, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    return LabelledImages.measured((noise + 60 * labels[:, None, None, None]).byte(), labels, 3)


def retrained(
    images: LabelledImages, spec: SearchSpec, world: World, *, stop_after: int | None = None
) -> tuple[dict[str, torch.Tensor], Notes, World]:
    """Tensors after a retraining; with `stop_after`, of one that was stopped and resumed."""
    supernet = bilevel.blank(SPACE, 3, device="cpu").supernet
    best = {name: value.clone() for name, value in supernet.state_dict().items()}
    derived = derivation.derive(supernet, derive(supernet), images, images, spec)
    written = Notes(None, None, {}, live=derived.state.tensors())
    for limit in (None,) if stop_after is None else (stop_after, None):
        state = derivation.blank(SPACE, derived.genotype, images, spec)
        state.load(written.live)
        context = replace(world, stop_after=limit, records=[])
        meter = Meter(context, total=derivation.units(spec.retrain_epochs + 1))
        meter.skip(derivation.units(len(written.live_history)))
        teacher = None
        if spec.retraining.distillation:
            again = bilevel.blank(SPACE, 3, device="cpu").supernet
            again.load_state_dict(best)
            teacher = derivation.as_teacher(again, images, spec)

        def save(written: Notes = written, state: derivation.RetrainState = state) -> None:
            written.live = state.tensors()

        try:
            derivation.follow_retraining(
                state, images, spec, written, meter, save, teacher=teacher
            )
        except Stopped:
            assert limit is not None
    assert meter.done == pytest.approx(meter.total)
    return written.live, written, context


def test_a_stopped_retraining_with_every_option_ends_as_an_undisturbed_one(
    images: LabelledImages, world: World
) -> None:
    spec = spec_of(EVERYTHING)
    config = derivation.configure(spec)
    for name in Retraining.__dataclass_fields__:
        assert getattr(config, name) == getattr(EVERYTHING, name)
    whole, written, _ = retrained(images, spec, world)
    assert [row["epoch"] for row in written.live_history] == [0, 1, 2, 3]
    assert {row["precision"] for row in written.live_history} == {"bf16"}
    for stop in (1, 2):
        resumed, again, context = retrained(images, spec, world, stop_after=stop)
        assert [record.step for record in context.records] == list(range(stop, 4))
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)
        assert [row["valid_loss"] for row in again.live_history] == [
            row["valid_loss"] for row in written.live_history
        ]


def test_a_budget_ends_it_early_and_the_meter_still_arrives(
    images: LabelledImages, world: World
) -> None:
    spec = spec_of(Retraining(budget_seconds=1e-6), epochs=50)
    _, written, _ = retrained(images, spec, world)
    assert [row["epoch"] for row in written.live_history] == [0, 1]
    assert written.live_history[-1]["epochs"] == 1
