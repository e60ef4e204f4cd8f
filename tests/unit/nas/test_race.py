"""The race for a start: knowledge beats cold, garbage never does, and ties go to cold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.nas import race, search, standings
from core.nas.images import LabelledImages
from core.nas.race import Contestant, Entry
from core.nas.search import SearchConfig, SearchState
from core.nas.space import Space
from core.nas.standings import Rung, Trial, bound, judge, luck_decides, paired, verdict
from core.nas.supernet import Supernet
from core.nas.warm_start import Source, begin

Halves = tuple[LabelledImages, LabelledImages]
CONFIG = SearchConfig(epochs=20, batch_size=60, learning_rate=0.05)
FEW = 5e-3  # a budget that pays for the first rung alone


@pytest.fixture(scope="module")
def pretrained(space: Space, halves: Halves) -> Source:
    """A supernet that has seen these images before."""
    state = SearchState(Supernet(space, 10, torch.Generator().manual_seed(3)))
    config = SearchConfig(epochs=6, batch_size=40, learning_rate=0.2)
    list(search.run(state, *halves, config))
    return Source(space, state.supernet.state_dict())


def noise(space: Space, seed: int) -> Source:
    """Every weight drawn anew from a wide normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    state = Supernet(space, 10, generator).state_dict()
    drawn = {
        name: 9 * torch.randn(value.shape, generator=generator) for name, value in state.items()
    }
    return Source(
        space, {n: v.abs() if n.endswith("running_var") else v for n, v in drawn.items()}
    )


def contestant(name: str, origin: Space | Source, halves: Halves) -> Contestant:
    entry = Entry(origin, *halves, CONFIG)
    return Contestant(name, lambda: entry, isinstance(origin, Space))


def broken(name: str) -> Contestant:
    def enter() -> Entry:
        raise ValueError("the file cannot be read")

    return Contestant(name, enter)


def run(contestants: list[Contestant], budget: float = FEW, **changes: object) -> list[Rung]:
    settings = {"method": "darts", "head": "closed_form", "seed": 0, "clock": lambda: 0.0}
    return list(race.run(contestants, budget=budget, **{**settings, **changes}))


def test_knowledge_beats_cold_and_garbage(
    pretrained: Source, space: Space, halves: Halves
) -> None:
    dead = Source(space, {n: torch.zeros_like(v) for n, v in pretrained.state.items()})
    field = [
        contestant("dead", dead, halves),
        contestant("pretrained", pretrained, halves),
        contestant("cold", space, halves),
    ]
    rungs = run(field)
    assert [rung.epochs for rung in rungs] == [0]
    won = verdict(rungs)
    assert won.name == "pretrained"
    assert "points behind pretrained" in won.reason
    _, leader, cold = rungs[0].standings
    assert leader.accuracy is not None
    assert cold.accuracy is not None
    assert cold.behind == pytest.approx(leader.accuracy - cold.accuracy)
    assert cold.behind > 2 * (cold.behind_error or 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_garbage_never_wins(space: Space, halves: Halves, seed: int) -> None:
    field = [contestant("noise", noise(space, seed), halves), contestant("cold", space, halves)]
    assert verdict(run(field)).name == "cold"


def test_who_cannot_start_is_out_with_a_reason(
    pretrained: Source, space: Space, halves: Halves
) -> None:
    poisoned = {**pretrained.state, "stem": pretrained.state["stem"] * float("nan")}
    colour = Space(channels=2, layers=3, nodes=4)
    field = [
        broken("broken"),
        contestant("poisoned", Source(space, poisoned), halves),
        contestant("colour", Source(colour, {}), halves),
        contestant("cold", space, halves),
    ]
    rungs = run(field)
    reasons = {each.name: each.out or "" for each in rungs[0].standings}
    assert "cannot be read" in reasons["broken"]
    assert "'stem' is not finite" in reasons["poisoned"]
    assert "1 channels, the space has 3" in reasons["colour"]
    assert verdict(rungs).name == "cold"
    assert verdict(rungs).reason == "no source can be started from"
    with pytest.raises(ValueError, match=r"no contestant can run.*cannot be read"):
        verdict(run([broken("broken")]))


def test_a_space_that_the_method_cannot_search_is_out(pretrained: Source, halves: Halves) -> None:
    partial = Space(channels=8, layers=3, input_channels=1, partial=4)
    field = [contestant("warm", pretrained, halves), contestant("cold", partial, halves)]
    rungs = run(field, method="pc-darts")
    assert verdict(rungs).name == "cold"
    assert rungs[0].standings[0].accuracy is None


def test_equal_arguments_give_equal_races(
    pretrained: Source, space: Space, halves: Halves
) -> None:
    field = [contestant("warm", pretrained, halves), contestant("cold", space, halves)]
    assert run(field) == run(field)
    fewer = [contestant(each.name, space, halves) for each in field[1:]]
    assert run(field)[0].standings[1].accuracy == run(fewer)[0].standings[0].accuracy


def test_longer_rungs_are_the_search_itself_and_stay_in_the_budget(
    space: Space, halves: Halves
) -> None:
    # Two equal spaces: nothing tells them apart, so the budget alone ends the race.
    config = replace(CONFIG, learning_rate=0.1)
    halves = halves[0].take(torch.arange(60)), halves[1].take(torch.arange(60))
    entry = Entry(space, *halves, config)
    twins = [Contestant("first", lambda: entry), Contestant("second", lambda: entry)]
    paid: list[float] = []
    rungs = run(twins, budget=8.0, heard=paid.append)
    assert [rung.epochs for rung in rungs] == [0, 1, 3]
    assert sum(paid) <= 8.0
    assert len(paid) == 6
    assert verdict(rungs).name == "first"  # a tie goes to the nearer
    supernet = begin(
        space,
        10,
        *halves,
        head="closed_form",
        generator=torch.Generator().manual_seed(config.seed),
        batch_size=config.batch_size,
    )
    course = search.run(SearchState(supernet), *halves, config)
    alone = {record.epoch: record.valid_accuracy for record, _ in zip(course, range(4))}  # noqa: B905
    for rung in rungs[1:]:
        assert rung.standings[0].accuracy == alone[rung.epochs]


def test_a_big_target_is_sampled_and_a_small_one_is_not(
    space: Space, digits: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "FEWEST", 100)
    monkeypatch.setattr(race, "DRAWS", 1)
    halves = digits.halves(0)
    field = [contestant("cold", space, halves)]
    (rung,) = run(field, budget=FEW)
    assert (rung.train_images, rung.valid_images) == (100, 100)
    (rung,) = run(field, budget=race._ENTRY / 2)
    assert rung.train_images == len(halves[0]) // 2
    (rung,) = run(field, budget=50.0)
    assert rung.valid_images == len(halves[1])


def test_other_validation_images_are_refused(space: Space, halves: Halves) -> None:
    train, valid = halves
    field = [
        contestant("cold", space, halves),
        contestant("other", space, (train, valid.take(torch.arange(50)))),
    ]
    with pytest.raises(ValueError, match="'other' sees other validation images"):
        run(field)


def test_a_paired_difference_has_the_error_of_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(500, generator=generator) < share for share in (0.8, 0.7))
    each = first.double() - second.double()
    difference, error = paired(first, second)
    assert difference == pytest.approx(float(each.mean()))
    assert error == pytest.approx(float(each.std(correction=0)) / 500**0.5)
    assert paired(first, first) == (0.0, 0.0)


def right(count: int, of: int = 100) -> Tensor:
    return torch.arange(of) < count


def trials(make: Callable[[int], Tensor], *counts: int, cold: int) -> list[Trial]:
    warm = [Trial(f"warm {n}", False, hits=make(each)) for n, each in enumerate(counts)]
    return [*warm, Trial("cold", True, hits=make(cold))]


def alive(found: list[Trial]) -> list[str]:
    return [each.name for each in judge(found) if each.out is None]


def test_cold_goes_only_when_it_is_beaten_beyond_noise() -> None:
    # Of 100 images 3 more right are within two standard errors, 5 more are not.
    assert alive(trials(right, 93, cold=90)) == ["warm 0", "cold"]
    assert alive(trials(right, 95, cold=90)) == ["warm 0"]
    assert alive(trials(right, 90, cold=95)) == ["cold"]
    (rung,) = [Rung(0, 100, 100, judge(trials(right, 93, cold=90)))]
    assert verdict([rung]).name == "cold"
    assert verdict([rung]).reason == "no source is better than a cold start beyond noise"


def test_cold_is_beaten_only_above_what_another_draw_might_reach() -> None:
    draws = (0.80, 0.84, 0.88)
    # Mean .84, deviation .04; 4.303 is Student's t of two degrees of freedom.
    assert bound(draws) == pytest.approx(0.84 + 4.303 * 0.04 * (4 / 3) ** 0.5, abs=1e-4)
    assert bound((0.8,)) is None
    found = trials(lambda count: right(count, 1000), 950, cold=800)
    assert alive(found) == ["warm 0"]
    found[-1].draws = draws  # the images tell them apart, the draws do not
    assert alive(found) == ["warm 0", "cold"]
    assert verdict([Rung(0, 1, 1, judge(found))]).name == "cold"
    found = trials(lambda count: right(count, 1000), 800, cold=950)
    found[-1].draws = draws  # a cold start that is better has nothing to prove
    assert alive(found) == ["cold"]


def test_a_cold_start_is_drawn_again_only_where_luck_may_decide(
    space: Space, halves: Halves, pretrained: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = [
        contestant("pretrained", pretrained, halves),
        contestant("cold", space, halves),
    ]
    leader, cold = run(field)[0].standings
    assert leader.accuracy is not None
    assert cold.accuracy is not None
    lead = leader.accuracy - cold.accuracy
    for luck, draws in ((lead - 1e-6, 0), (lead + 1e-6, race.DRAWS)):
        monkeypatch.setattr(standings, "_LUCK", luck)
        paid: list[float] = []
        rungs, again = run(field, heard=paid.append), run(field)
        standing = rungs[0].standings[1]
        assert len(standing.draws) == draws
        assert rungs == again
        assert verdict(rungs).name == "pretrained"
        # All images, by each contestant and each further draw.
        assert sum(paid) == pytest.approx((2 + max(0, draws - 1)) * race._ENTRY)
    assert len(set(standing.draws)) > 1
    assert standing.draws[0] == standing.accuracy


@pytest.mark.parametrize(("rival", "drawn"), [(80, False), (82, False), (90, True), (96, False)])
def test_luck_decides_between_noise_and_a_lead_that_no_draw_makes(rival: int, drawn: bool) -> None:
    warm, cold = trials(lambda count: right(count, 100), rival, cold=80)
    assert luck_decides(cold, [warm, cold]) is drawn


def test_nothing_is_drawn_for_one_that_cannot_run() -> None:
    warm, cold = trials(right, 90, cold=80)
    cold.hits = None
    assert not luck_decides(cold, [warm, cold])
    cold = Trial("cold", True, hits=torch.zeros(100, dtype=torch.bool))
    assert not luck_decides(cold, [Trial("warm", False, failed="broken"), cold])


def test_no_more_than_half_go_on_and_cold_has_a_seat() -> None:
    assert alive(trials(right, 92, 93, 91, cold=90)) == ["warm 1", "cold"]
    assert alive(trials(right, 93, 93, 93, 80, cold=70)) == ["warm 0", "warm 1", "warm 2"]
    assert alive(trials(right, 50, 50, cold=20)) == ["warm 0", "warm 1"]


def test_a_rung_that_ends_for_everyone_leaves_the_one_before_it() -> None:
    first = Rung(0, 100, 100, judge(trials(right, 92, cold=90)))
    failed = [Trial(each, each == "cold", failed="diverged") for each in ("warm 0", "cold")]
    assert verdict([first, Rung(1, 100, 100, judge(failed))]).name == "cold"
