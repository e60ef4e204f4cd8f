"""Which tasks a target may start from, and that no unit starts from one that has seen it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks.transfer import plan, pretraining
from tests.benchmarks.transfer.settings import SCALES, Bench
from tests.benchmarks.transfer.tasks import deal, outside, single_sources, spread_over_domains
from tests.unit.benchmarks.suites import write_suite

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    suite = tmp_path / "suite"
    suite.mkdir()
    return Bench(write_suite(suite, NAMES), tmp_path / "results", SCALES["tiny"], "cpu")


def ranked(bench: Bench) -> None:
    for name in NAMES:
        order = [other for other in sorted(NAMES) if other != name]
        bench.keep(plan.distance_unit(name), {"order": order})


def test_every_domain_comes_before_any_comes_twice() -> None:
    domains = {f"{domain}{at}": domain for domain in "abc" for at in range(4)}

    chosen = spread_over_domains(domains, 5)

    assert len(chosen) == 5
    assert sorted(Counter(domains[task] for task in chosen).values()) == [1, 2, 2]
    assert set(spread_over_domains(domains, None)) == set(domains)
    assert spread_over_domains(domains, 5) == chosen


def test_folds_are_even_and_leave_their_own_tasks_out() -> None:
    folds = deal(NAMES, 3)

    assert sorted(Counter(folds.values()).values()) == [1, 2, 2]
    for task, fold in folds.items():
        assert task not in outside(NAMES, 3, fold)
    assert {t for fold in range(3) for t in outside(NAMES, 3, fold)} == set(NAMES)


def test_single_sources_follow_the_order() -> None:
    found = single_sources("target", 0, ["near", "next", "mid", "far"])

    assert (found["nearest"], found["second"], found["farthest"]) == ("near", "next", "far")
    drawn = {
        single_sources("target", seed, ["near", "next", "far"])["random"] for seed in range(9)
    }
    assert len(drawn) > 1
    with pytest.raises(ValueError, match="start from itself"):
        single_sources("target", 0, ["near", "target"])


def test_no_unit_of_a_target_needs_what_has_seen_it(bench: Bench) -> None:
    ranked(bench)
    units = plan.of_targets(bench, NAMES, 2)
    known = {unit.name for unit in units}

    for unit in units:
        assert set(unit.needs) <= known
        if not unit.name.startswith("targets/"):
            continue
        target = unit.name.split("/")[1]
        for need in unit.needs:
            if need.startswith("sources/"):
                assert need != f"sources/{target}"
            if need.startswith("shared/"):
                fold = int(need.removeprefix("shared/fold-"))
                assert target not in outside(NAMES, bench.scale.folds, fold)


def test_what_is_needed_comes_first(bench: Bench) -> None:
    ranked(bench)
    seen = set[str]()
    for unit in plan.of_targets(bench, NAMES[:2], 1):
        assert set(unit.needs) <= seen
        assert unit.name not in seen
        seen.add(unit.name)


def test_a_source_that_has_seen_the_target_is_refused(bench: Bench) -> None:
    bench.keep("shared/fold-0", {"tasks": ["alpha", "beta"]})

    pretraining.require_unseen(bench, "shared/fold-0", "gamma")
    with pytest.raises(ValueError, match="was trained on beta"):
        pretraining.load(bench, "shared/fold-0", "beta")


def test_results_are_kept_whole_and_found_again(bench: Bench) -> None:
    assert bench.result("some/unit") is None

    bench.keep("some/unit", {"value": 1})

    assert bench.result("some/unit") == {"value": 1}
    assert [path.name for path in (bench.folder / "some").iterdir()] == ["unit.json"]


def test_other_settings_have_another_folder(bench: Bench, tmp_path: Path) -> None:
    for other in (
        Bench(bench.suite, bench.root, SCALES["small"], "cpu"),
        Bench(bench.suite, bench.root, SCALES["tiny"], "cuda"),
    ):
        assert other.folder != bench.folder
    grown = tmp_path / "grown"
    grown.mkdir()
    write_suite(grown, (*NAMES, "zeta"))
    assert Bench(grown, bench.root, bench.scale, "cpu").folder.name != bench.folder.name
    json.dumps(bench.settings)
