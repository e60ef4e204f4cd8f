"""From made-up results of units to figures and words, hits and misses alike."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.benchmarks.transfer import contest, document, figures, pictures, plan, verdicts
from tests.benchmarks.transfer.rows import Row, rows
from tests.benchmarks.transfer.settings import SCALES, Bench
from tests.unit.benchmarks.suites import write_suite

NAMES = ("alpha", "beta", "gamma", "delta")
TARGETS = NAMES[:3]
LEAD = 2.0  # seconds of embedding and ranking
RACE = 1.0
COLD = [0.1, 0.4, 0.6, 0.8]


def record(
    valid: Sequence[float], right: str, *, source: str | None = None, pace: float = 1.0
) -> dict[str, Any]:
    """An arm whose epochs take `pace` seconds and whose retraining reaches `right` at once."""
    seconds = [pace * (at + 1) for at in range(len(valid))]
    test = right.count("1") / len(right)
    end = seconds[-1] + 2.0
    return {
        "source": source,
        "search": {"epochs": list(range(len(valid))), "seconds": seconds, "valid": list(valid)},
        "supernet": {"valid_accuracy": valid[-1], "test_accuracy": valid[-1]},
        "discretised": {"valid_accuracy": 0.5, "test_accuracy": 0.5},
        "random_inherited": [0.3, 0.4, 0.5],
        "scored": 0.6,
        "retrain": {"epochs": [0, 1], "seconds": [end, end + 1], "valid": [0, 0], "test": [0, 0]},
        "retrained": {"valid_accuracy": test, "test_accuracy": test, "right": right},
        "seconds": {"search": seconds[-1], "select": 1.0, "derive": 1.0, "retrain": 1.0},
    }


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return made(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def found(bench: Bench) -> dict[str, Any]:
    return figures.gather(bench, TARGETS, 1)


def made(folder: Path) -> Bench:
    suite = folder / "suite"
    suite.mkdir()
    bench = Bench(write_suite(suite, NAMES), folder / "results", SCALES["tiny"], "cpu")
    for target in TARGETS:
        order = [other for other in NAMES if other != target]
        ranking = {"order": order, "distances": [1.0, 2.0, 3.0]}
        seconds = {"embed_seconds": 1.5, "rank_seconds": 0.5}
        bench.keep(plan.distance_unit(target), ranking | seconds)
        _arms(bench, target, order)
    for name in NAMES:
        bench.keep(f"sources/{name}", {"tasks": [name], "seconds": 10.0})
    return bench


def _arms(bench: Bench, target: str, order: Sequence[str]) -> None:
    good, poor, cold = "1" * 90 + "0" * 10, "1" * 40 + "0" * 60, "1" * 70 + "0" * 30
    arms = {
        "cold": record(COLD, cold),
        "nearest": record([0.7, 0.8, 0.8, 0.9], good, source=f"sources/{order[0]}", pace=0.5),
        "farthest": record([0.1, 0.2, 0.3, 0.3], poor, source=f"sources/{order[-1]}"),
        "race": {
            "winner": "nearest",
            "reason": "better",
            "race_seconds": RACE,
            "rungs": [rung(0, multi=0.1, nearest=0.2, second=0.2, cold_closed_form=0.1)],
            "begun": [],
        },
        "random_cell": {
            key: value
            for key, value in record(COLD, cold).items()
            if key in ("retrain", "retrained", "seconds")
        },
    }
    for arm, result in arms.items():
        bench.keep(plan.arm_unit(target, 0, arm), result)


def rung(epochs: int, **seconds: float) -> dict[str, Any]:
    standings = [{"name": name, "seconds": spent} for name, spent in seconds.items()]
    return {"epochs": epochs, "standings": standings}


def by_policy(bench: Bench) -> dict[str, Row]:
    return {row.policy: row for row in rows(bench, TARGETS[:1], 1)}


def test_what_a_ranking_costs_is_in_a_start_s_seconds(bench: Bench) -> None:
    near = by_policy(bench)["nearest"]

    # 95 % of .8: the second record, after a second, of cold's last, after four.
    assert (near.epochs_95, near.seconds_95) == (1, LEAD + 1.0)
    assert near.ratio_95 == pytest.approx(4 / (LEAD + 1))
    assert near.epoch_ratio_95 == pytest.approx(3.25 / 1.25)
    assert near.lead_seconds == LEAD
    assert near.total_seconds == LEAD + 2.0 + 3.0


def test_a_race_is_its_winner_s_arm_and_what_it_cost_to_choose_it(bench: Bench) -> None:
    found = by_policy(bench)
    near, race = found["nearest"], found["race"]

    assert race.source == near.source
    assert race.seconds_95 == pytest.approx((near.seconds_95 or 0) + RACE)
    assert race.retrained_test == near.retrained_test


def test_what_a_race_has_begun_is_not_paid_twice(tmp_path: Path) -> None:
    bench = made(tmp_path)
    before = by_policy(bench)["race"]
    unit = plan.arm_unit(TARGETS[0], 0, "race")
    rungs = bench.result(unit)["rungs"]
    more = {"begun": [0.7, 0.8], "rungs": [*rungs, rung(1, nearest=0.25, multi=0.15)]}
    bench.keep(unit, bench.result(unit) | more)
    race = by_policy(bench)["race"]

    # Of the race's second the winner's first epoch is over after .1 + .2 + .2 + .1 + .25; its
    # start and first epoch took its own arm a second.
    assert race.seconds_95 == pytest.approx(LEAD + 0.85)
    assert race.total_seconds == pytest.approx(before.total_seconds - 1.0)
    assert race.model_seconds == pytest.approx((before.model_seconds or 0) - 1.0)
    start = {"begun": [0.7], "rungs": rungs}
    bench.keep(unit, bench.result(unit) | start)
    known = by_policy(bench)["race"]
    assert known.ahead_seconds is not None
    assert before.ahead_seconds is not None
    assert known.ahead_seconds > before.ahead_seconds  # known since LEAD + .3
    bench.keep(unit, bench.result(unit) | {"begun": [0.6]})
    with pytest.raises(ValueError, match="began with"):
        by_policy(bench)


def test_never_is_kept_as_never(bench: Bench) -> None:
    far = by_policy(bench)["farthest"]

    assert far.seconds_95 is None
    assert (far.ratio_95, far.epoch_ratio_100) == (0.0, 0.0)
    assert far.model_seconds is None
    assert far.model_ratio == 0.0


def test_cold_is_its_own_measure(bench: Bench) -> None:
    cold = by_policy(bench)["cold"]

    assert (cold.ratio_95, cold.ratio_100, cold.model_ratio) == (1.0, 1.0, 1.0)
    assert (cold.retrained_difference, cold.ahead_seconds, cold.ahead_epochs) == (0.0, 0.0, 0.0)


def test_an_arm_knows_nothing_before_it_has_started(bench: Bench) -> None:
    near = by_policy(bench)["nearest"]

    # Nothing for 2.5 s, .7 for .5 s, .8 for a second; cold 0, .1, .4, .6 for a second each.
    assert near.ahead_seconds == pytest.approx((0.5 * 0.7 + 0.8) / 4 - (0.1 + 0.4 + 0.6) / 4)
    assert near.ahead_epochs == pytest.approx((0.7 + 0.8 + 0.8 - 0.1 - 0.4 - 0.6) / 3)


def test_overall_figures_and_their_keys(found: dict[str, Any]) -> None:
    race, far = found["overall"]["race"], found["overall"]["farthest"]

    assert {
        "median_speedup_95", "speedup_95_interval", "median_speedup_100", "positive_fraction",
        "not_worse_fraction", "median_retrained_difference", "overhead_fraction",
    } <= set(race)  # fmt: skip
    assert race["overhead_fraction"] == pytest.approx((LEAD + RACE) / (LEAD + RACE + 5))
    assert race["median_retrained_difference"] == pytest.approx(0.2)
    assert far["never_95"] == 1.0
    assert far["median_seconds_95"] is None
    assert far["not_worse_fraction"] == 0.0
    assert found["distance_gain_spearman"]["within_target"] == pytest.approx(-1)
    assert found["race_winners"] == {"nearest": 3}
    assert found["missing"] == []
    json.dumps(found, allow_nan=False)


def test_unfinished_arms_are_listed(tmp_path: Path) -> None:
    bench = made(tmp_path)
    (bench.folder / "targets/alpha/0/farthest.json").unlink()

    found = figures.gather(bench, TARGETS, 1)

    assert found["missing"] == ["targets/alpha/0/farthest"]
    assert found["overall"]["farthest"]["pairs"] == 2
    assert "Not finished, and in no figure: 1 arms" in document.write(found, picture="x.svg")


def test_hits_and_misses_are_said_as_they_are(found: dict[str, Any]) -> None:
    read = json.loads(json.dumps(found))
    told = {line.split(":")[0]: line for line in document.conclusions(read)}

    assert "**faster**" in told["nearest task's supernet"]
    assert "**better**: +20.0 points" in told["nearest task's supernet"]
    assert "never reach 95 %" in told["farthest task's supernet"]
    assert "**worse**: -30.0 points" in told["farthest task's supernet"]
    assert "**no speed-up shown**" in told["race (the default)"]  # 4 s against 2 + 1 + 1


def test_the_report_names_scale_machine_and_every_target(found: dict[str, Any]) -> None:
    text = document.write(found, picture="evidence.svg")

    flat = " ".join(text.split())
    assert "Scale **tiny**: 3 targets of a suite of 4 tasks" in flat
    assert f"{found['machine']['cores']} {found['machine']['processor']} cores" in flat
    assert "![Accuracy of the supernets over time](evidence.svg)" in text
    assert all(f"| {target} | {target} |" in text for target in TARGETS)
    assert "No ResNet18 was run" in flat
    widths = [
        {line.count(" | ") for line in block.splitlines()}
        for block in text.split("\n\n")
        if block.startswith("|")
    ]
    assert widths
    assert all(len(columns) == 1 for columns in widths)


def test_pictures_are_drawn(bench: Bench, found: dict[str, Any]) -> None:
    drawn = pictures.draw(bench, found)

    ElementTree.fromstring(drawn)
    assert "nearest" in drawn
    assert {path.stem for path in (bench.folder / "pictures").iterdir()} == set(TARGETS)


def test_every_bar_is_said_to_be_met_or_missed(found: dict[str, Any]) -> None:
    told = {bar: (figure, verdict) for bar, figure, verdict in verdicts.rows(found)}

    # The race has cold's 4 s after 2 + 1 + 1 to 95 %, 4 after 2 + 1 + 1 to all of it.
    assert told["x5 to 95 % of cold's best, interval above x3"][1] == verdicts.MISSED
    assert told["x3 to all of cold's best"][0].startswith("x1.00")
    # Supernet .9, cells .5 by alphas and .6 by score, random ones .4.
    assert told["cells by alphas within 5 points of the supernet, median"] == (
        "-40.0",
        verdicts.MISSED,
    )
    assert told["cells by score above random ones on at least 75 % of targets"] == (
        "100 %",
        verdicts.MET,
    )
    assert told["no target with a significantly worse model"] == ("100 %", verdicts.MET)
    assert told["a better model on at least 70 % of targets"] == ("100 %", verdicts.MET)


def test_a_significantly_worse_target_is_a_miss(tmp_path: Path) -> None:
    bench = made(tmp_path)
    poor = record([0.7, 0.8, 0.8, 0.9], "1" * 40 + "0" * 60, source="sources/beta", pace=0.5)
    bench.keep(plan.arm_unit("alpha", 0, "nearest"), poor)

    found = figures.gather(bench, TARGETS, 1)

    told = {bar: verdict for bar, _, verdict in verdicts.rows(found)}
    assert found["overall"]["race"]["worse_targets"] == pytest.approx(1 / 3)
    assert told["no target with a significantly worse model"] == verdicts.MISSED


def test_kin_are_targets_whose_nearest_source_is_of_their_domain(found: dict[str, Any]) -> None:
    # Here every task is a domain of its own.
    assert found["with_kin"] == {}
    assert found["without_kin"]["race"]["pairs"] == found["overall"]["race"]["pairs"]


def test_sources_are_compared_on_the_same_target_and_seed(found: dict[str, Any]) -> None:
    assert found["order"]["nearest_over_random"]["pairs"] == 0  # no random source was run
    assert found["order"]["random_over_farthest"]["median"] is None


def test_another_reference_than_the_plain_cold_start(bench: Bench, tmp_path: Path) -> None:
    own = made(tmp_path)
    own.keep(plan.arm_unit("alpha", 0, contest.COLD), record([0.5, 0.8], "1" * 70 + "0" * 30))

    near = by_policy(own)["nearest"]

    # A solved cold start has its .8 after two seconds, the nearest source after 2 + 1.
    assert near.ratio_95_over_solved == pytest.approx(2 / (LEAD + 1))
    assert by_policy(bench)["nearest"].ratio_95_over_solved is None


def test_the_report_says_how_retraining_began(found: dict[str, Any]) -> None:
    text = " ".join(document.write(found, picture="x.svg").split())
    assert "Retraining began at rate 0.05, its heads descended like all other weights." in text
