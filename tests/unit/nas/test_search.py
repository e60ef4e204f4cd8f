"""The search learns, resumes to the bit, repeats itself, and refuses nonsense."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save

from core.nas import methods
from core.nas.derive import derive
from core.nas.evaluate import evaluate
from core.nas.head import fit_head
from core.nas.images import LabelledImages
from core.nas.loop import gradients
from core.nas.ranks import Ranks
from core.nas.search import Diverged, SearchConfig, SearchState, run
from core.nas.space import Space
from core.nas.supernet import Supernet

Halves = tuple[LabelledImages, LabelledImages]

CONFIG = SearchConfig(epochs=4, batch_size=40, learning_rate=0.1, alpha_learning_rate=0.01)


def fresh(space: Space) -> SearchState:
    return SearchState(Supernet(space, 10, torch.Generator().manual_seed(0)))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_search_learns_and_resumes_to_the_bit(space: Space, halves: Halves) -> None:
    whole = fresh(space)
    records, saved = [], b""
    for record in run(whole, *halves, CONFIG):
        records.append(record)
        if record.epoch == 2:
            saved = save(whole.tensors())
    assert [record.epoch for record in records] == [0, 1, 2, 3, 4]
    assert records[-1].train_loss < 0.8 * records[1].train_loss
    assert records[-1].valid_accuracy > max(0.4, records[0].valid_accuracy + 0.2)
    steps = math.ceil(len(halves[0]) / CONFIG.batch_size)
    assert [record.steps for record in records] == [0, *[steps] * 4]
    assert records[1].learning_rate == CONFIG.learning_rate > records[4].learning_rate

    resumed = fresh(space)
    resumed.load(load(saved))
    rest = list(run(resumed, *halves, CONFIG))
    assert [record.epoch for record in rest] == [3, 4]
    assert same(whole.tensors(), resumed.tensors())
    assert derive(whole.supernet) == derive(resumed.supernet)
    assert rest[-1].valid_loss == records[-1].valid_loss


def test_the_seed_decides(space: Space, halves: Halves) -> None:
    def outcome(seed: int) -> dict[str, torch.Tensor]:
        state = fresh(space)
        list(run(state, *halves, SearchConfig(epochs=1, batch_size=60, seed=seed)))
        return state.tensors()

    assert same(outcome(1), outcome(1))
    assert not same(outcome(1), outcome(2))


def test_only_alphas_follow_the_validation_half(space: Space, halves: Halves) -> None:
    train, valid = halves
    config = SearchConfig(epochs=1, batch_size=60, learning_rate=0, learning_rate_min=0)
    state = fresh(space)
    before = state.tensors()
    record = list(run(state, train, valid, config))[-1]
    after = state.tensors()
    moved = {
        name.removeprefix("model.")
        for name in before
        if name.startswith("model.")
        and not torch.equal(before[name], after[name])
        and "running" not in name
        and "num_batches" not in name
    }
    assert moved == {"alphas_normal", "alphas_reduction"}
    assert len(record.alphas_normal) == space.edges
    assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in record.alphas_normal)
    assert 0 < record.entropy_normal <= math.log(8)


def test_zero_epochs_only_measure(space: Space, halves: Halves) -> None:
    records = list(run(fresh(space), *halves, SearchConfig(epochs=0)))
    assert [(r.epoch, r.steps) for r in records] == [(0, 0)]


def test_divergence_is_an_error(space: Space, halves: Halves) -> None:
    state = fresh(space)
    with torch.no_grad():
        state.supernet.stem.fill_(float("inf"))
    with pytest.raises(Diverged):
        list(run(state, *halves, CONFIG))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -1),
        ("epochs", 2.0),
        ("epochs", True),
        ("batch_size", 1),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", -0.1),
        ("learning_rate", "0.1"),
        ("momentum", 1.0),
        ("gradient_clip", 0.0),
        ("augment", "flip"),
        ("seed", -1),
        ("alpha_learning_rate", float("nan")),
        ("alpha_weight_decay", 2.0),
    ],
)
def test_impossible_settings_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SearchConfig(**{"epochs": 1, field: value})


def test_a_foreign_checkpoint_is_refused_and_changes_nothing(space: Space) -> None:
    state = fresh(space)
    before = state.tensors()
    good = {name: value + 1 for name, value in before.items()}
    for bad, message in (
        ({**good, "model.extra": torch.ones(1)}, "unknown 'model.extra'"),
        ({n: v for n, v in good.items() if n != "epoch"}, "missing 'epoch'"),
        ({**good, "model.stem": torch.ones(1)}, "'model.stem' is"),
    ):
        with pytest.raises(ValueError, match=message):
            state.load(bad)
        assert same(before, state.tensors())


def test_evaluation_counts(halves: Halves, space: Space) -> None:
    _, valid = halves
    supernet = Supernet(space, 10, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        supernet.classifier.weight.zero_()
        supernet.classifier.bias.zero_()
        supernet.classifier.bias[3] = 1.0  # always answers 3
    some = valid.take((valid.labels != 7).nonzero().flatten())
    result = evaluate(supernet, some, 17)
    totals = some.labels.bincount(minlength=10)
    assert result.accuracy == pytest.approx((totals[3] / len(some)).item())
    assert torch.equal(result.confusion[:, 3], totals)
    assert result.confusion.sum() == len(some)
    assert result.per_class[3] == 1.0
    assert result.per_class[4] == 0.0
    assert result.per_class[7] is None
    assert result.answers.tolist() == [3] * len(some)
    assert result.certainties.tolist() == pytest.approx([math.e / (math.e + 9)] * len(some))
    with pytest.raises(ValueError, match="images"):
        evaluate(supernet, valid.take(torch.tensor([], dtype=torch.int64)), 5)


def test_the_generalisation_gap_is_what_the_alphas_descend(space: Space, halves: Halves) -> None:
    """The paper's loss: ``L_train + c |L_val - L_train|``."""
    state = fresh(space)
    state.method.gap = 0.5
    batches = [next(half.batches(40)) for half in halves]
    found = state.method.gradients(
        *batches, descent=state.descent, config=CONFIG, rate=CONFIG.learning_rate
    )
    losses = [F.cross_entropy(state.supernet(images), labels) for images, labels in batches]
    expected = gradients(
        losses[0] + 0.5 * (losses[1] - losses[0]).abs(), state.supernet.alpha_parameters()
    )
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted)
    state.method.gap = 0.0
    plain = state.method.gradients(*batches, descent=state.descent, config=CONFIG, rate=0.1)
    assert any(not torch.equal(one, other) for one, other in zip(plain, found, strict=True))


def test_methods_that_look_ahead_have_no_generalisation_gap(space: Space, halves: Halves) -> None:
    supernet = fresh(space).supernet
    state = SearchState(supernet, methods.create("darts-second-order", supernet))
    config = SearchConfig(epochs=1, generalisation_gap=0.5)
    with pytest.raises(ValueError, match="generalisation_gap"):
        next(run(state, *halves, config))


def test_paths_change_the_weights_and_a_resume_repeats_them(space: Space, halves: Halves) -> None:
    config = replace(CONFIG, epochs=2, paths=1)
    whole, saved = fresh(space), b""
    for record in run(whole, *halves, config):
        if record.epoch == 1:
            saved = save(whole.tensors())
    resumed = fresh(space)
    resumed.load(load(saved))
    list(run(resumed, *halves, config))
    assert same(whole.tensors(), resumed.tensors())
    alone = fresh(space)
    list(run(alone, *halves, replace(config, paths=0)))
    assert not same(whole.tensors(), alone.tensors())


class Mirrored(Ranks):
    """Two processes, the other of which always holds the negative of what this one has."""

    size = 2

    def total(self, values: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(values) if values.ndim > 1 else 2 * values


def test_processes_go_on_with_the_mean_of_their_solved_heads(space: Space, halves: Halves) -> None:
    config = replace(CONFIG, epochs=1, solve_head=True)
    state = fresh(space)
    list(run(state, *halves, config, ranks=Mirrored()))
    assert not state.supernet.classifier.weight.any()
    assert state.supernet.classifier.bias.any()


def test_a_head_solved_every_epoch_fits_the_features_that_the_epoch_left(
    space: Space, halves: Halves
) -> None:
    config = replace(CONFIG, epochs=2, solve_head=True)
    whole, saved = fresh(space), b""
    head = whole.supernet.classifier
    for record in run(whole, *halves, config):
        before = head.weight.clone(), head.bias.clone()
        solution = fit_head(whole.supernet, *halves, batch_size=256)
        solved = [torch.equal(a, b) for a, b in zip(before, (head.weight, head.bias), strict=True)]
        assert solved == [True, True]
        assert record.valid_accuracy == pytest.approx(solution.valid_accuracy, abs=0.01)
        if record.epoch:
            saved = saved or save(whole.tensors())
        with torch.no_grad():
            head.weight.copy_(before[0])
            head.bias.copy_(before[1])
    resumed = fresh(space)
    resumed.load(load(saved))
    list(run(resumed, *halves, config))
    assert same(whole.tensors(), resumed.tensors())


@pytest.mark.parametrize("name", ["darts", "darts-second-order", "drnas"])
def test_all_steps_and_no_measuring_are_in_the_precision_asked_for(
    space: Space, halves: Halves, name: str
) -> None:
    supernet = fresh(space).supernet
    state = SearchState(supernet, methods.create(name, supernet))
    seen: set[tuple[bool, torch.dtype]] = set()
    supernet.register_forward_hook(
        lambda _module, _inputs, logits: seen.add((torch.is_grad_enabled(), logits.dtype)) or None
    )
    config = SearchConfig(epochs=1, batch_size=60, paths=1, precision="bf16")
    few = [half.sample(70, torch.Generator().manual_seed(0)) for half in halves]
    records = list(run(state, few[0], few[1], config))
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert math.isfinite(records[-1].valid_loss)
    assert all(p.dtype == torch.float32 for p in supernet.parameters())


def test_maps_computed_again_give_the_same_search(space: Space, halves: Halves) -> None:
    ends = []
    for recompute in (False, True):
        state = fresh(space)
        config = SearchConfig(epochs=1, batch_size=60, recompute=recompute)
        list(run(state, *halves, config))
        ends.append(state.tensors())
    assert same(*ends)


def test_partial_channels_refuse_paths(halves: Halves) -> None:
    space = Space(channels=8, layers=3, nodes=2, input_channels=1, partial=4)
    with pytest.raises(ValueError, match="paths: not with partial channels"):
        next(run(fresh(space), *halves, SearchConfig(epochs=1, paths=1)))
