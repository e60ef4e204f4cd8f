"""The race for a start: knowledge beats cold, garbage never does, and its search goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.nas import race, search
from core.nas.images import LabelledImages
from core.nas.race import Contestant, Entry
from core.nas.search import SearchConfig, SearchState
from core.nas.space import Space
from core.nas.standings import Rung, Standing, Trial, Verdict, judge, paired, verdict
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


def contestant(name: str, origin: Space | Source, halves: Halves) -> Contestant:
    entry = Entry(origin, *halves, CONFIG)
    return Contestant(name, lambda: entry, isinstance(origin, Space))


def broken(name: str) -> Contestant:
    def enter() -> Entry:
        raise ValueError("the file cannot be read")

    return Contestant(name, enter)


def run(contestants: list[Contestant], budget: float = FEW, **changes: object) -> list[Rung]:
    settings = {"method": "darts", "head": "closed_form", "seed": 0, "clock": lambda: 0.0}
    settings = {"entrants": len(contestants), "budget": budget, **settings, **changes}
    return list(race.Race(contestants, **settings).rungs())


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
    told: list[tuple[int, float | None]] = []

    def heard(cost: float, epochs: int, alone: Standing) -> None:
        paid.append(cost)
        told.append((epochs, alone.accuracy))

    rungs = run(twins, budget=8.0, heard=heard)
    assert [rung.epochs for rung in rungs] == [0, 1, 3]
    assert sum(paid) <= 8.0
    assert len(paid) == 6
    assert told == [(r.epochs, each.accuracy) for r in rungs for each in r.standings]
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


def racing(contestants: list[Contestant], budget: float = FEW) -> race.Race:
    settings = {"budget": budget, "method": "darts", "head": "random", "seed": 0}
    return race.Race(contestants, entrants=len(contestants), **settings)


def solving(name: str, origin: Space | Source, halves: Halves, **changes: object) -> Contestant:
    config = replace(CONFIG, solve_head=True, learning_rate=0.1, **changes)  # type: ignore[arg-type]
    return Contestant(name, lambda: Entry(origin, *halves, config), isinstance(origin, Space))


@pytest.mark.parametrize("budget", [FEW, 8.0])
def test_what_the_race_did_is_the_beginning_of_the_search(
    space: Space, halves: Halves, budget: float
) -> None:
    twins = [solving("first", space, halves, epochs=5), solving("second", space, halves, epochs=5)]
    run_ = racing(twins, budget)
    rungs = list(run_.rungs())
    begun = run_.begun(verdict(rungs).name)
    assert begun is not None
    assert [each.epoch for each in begun.records] == list(range(rungs[-1].epochs + 1))
    assert begun.records[0].valid_accuracy == rungs[0].standings[0].accuracy

    config = begun.entry.config
    alone = SearchState(Supernet(space, 10, torch.Generator().manual_seed(config.seed)))
    whole = list(search.run(alone, *halves, config))
    rest = list(search.run(begun.state, *halves, config, measured=True))
    for mine, other in zip([*begun.records, *rest], whole, strict=True):
        assert replace(mine, seconds=0.0) == replace(other, seconds=0.0)
    ours, theirs = begun.state.tensors(), alone.tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_search_is_not_begun_on_a_sample_nor_with_another_head(
    space: Space, halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = racing([contestant("cold", space, halves)])  # its head would not be solved again
    list(once.rungs())
    assert once.begun("cold") is None
    monkeypatch.setattr(race, "FEWEST", 100)
    sampled = racing([solving("cold", space, halves)])
    list(sampled.rungs())
    assert sampled.begun("cold") is None


def test_a_search_that_diverged_is_not_gone_on_with(
    space: Space, halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = search.run

    def diverging(*parts: Any, **settings: Any) -> Iterator[search.EpochRecord]:
        for record in honest(*parts, **settings):
            if record.epoch:
                raise search.Diverged("loss: nan")
            yield record

    monkeypatch.setattr(race.search, "run", diverging)
    run_ = racing([solving(name, space, halves) for name in ("first", "second")], 8.0)
    rungs = list(run_.rungs())
    assert [len(rung.alive) for rung in rungs] == [2, 0]
    assert verdict(rungs).name == "first"
    assert run_.begun("first") is None


def test_a_big_target_is_sampled_and_a_small_one_is_not(
    space: Space, digits: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "FEWEST", 100)
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


def test_who_is_worse_beyond_noise_is_out_and_the_most_accurate_wins() -> None:
    # Of 100 images 3 more right are within two standard errors, 5 more are not.
    def raced(*counts: int, cold: int) -> Verdict:
        return verdict([Rung(0, 100, 100, judge(trials(right, *counts, cold=cold)))])

    assert alive(trials(right, 93, cold=90)) == ["warm 0", "cold"]
    assert alive(trials(right, 95, cold=90)) == ["warm 0"]
    assert alive(trials(right, 90, cold=95)) == ["cold"]
    assert raced(93, cold=90).name == "warm 0"
    assert (
        raced(93, cold=90).reason == "cold start: 3.0 \N{PLUS-MINUS SIGN} 1.7 points behind, a tie"
    )
    assert "5.0 \N{PLUS-MINUS SIGN} 2.2 points behind warm 0" in raced(95, cold=90).reason
    assert raced(90, cold=91) == Verdict(
        "cold", "no source answers more images right than a cold start"
    )
    assert raced(88, 90, cold=90).name == "warm 1"  # of equals the likelier
    alone = judge([Trial("warm", False, hits=right(90))])
    assert verdict([Rung(0, 100, 100, alone)]).reason == "no cold start was in the race"


def test_no_more_than_half_go_on_and_cold_has_a_seat() -> None:
    assert alive(trials(right, 92, 93, 91, cold=90)) == ["warm 1", "cold"]
    assert alive(trials(right, 93, 93, 93, 80, cold=70)) == ["warm 0", "warm 1", "warm 2"]
    assert alive(trials(right, 50, 50, cold=20)) == ["warm 0", "warm 1"]


def test_a_rung_that_ends_for_everyone_leaves_the_one_before_it() -> None:
    first = Rung(0, 100, 100, judge(trials(right, 92, cold=93)))
    failed = [Trial(each, each == "cold", failed="diverged") for each in ("warm 0", "cold")]
    assert verdict([first, Rung(1, 100, 100, judge(failed))]).name == "cold"


def test_a_race_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="entrants: 0 is below 1"):
        racing([])
