"""What the report and the card say is true of the search they belong to."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import yaml

from core.domain.accuracy import wilson
from core.domain.datasets import (
    Dataset,
    DatasetId,
    DatasetReport,
    Measure,
    Nearness,
    Neighbour,
    Ranking,
    Verdict,
)
from core.domain.identity import DEFAULT
from core.nas.genotype import Edge, Genotype
from core.pipelines import report
from core.pipelines.report import Findings, Mistake

NODE = (Edge("sep_conv_3x3", 0), Edge("skip_connect", 1))
HISTORY = [{"epoch": n, "valid_accuracy": n / 4} for n in range(3)]


COLD = {"supernet_id": None, "head": "random", "dataset_name": None, "reason": None}


def findings(**start: Any) -> Findings:
    about = DatasetReport((), 30, 30, 0, "given", None, {}, {})
    names = ("cat<b>", "dog")
    dataset = Dataset(
        DatasetId(uuid4()), DEFAULT, "0" * 64, "pets <i>", names, (10, 10), (5, 5), 1, about,
        datetime.now(UTC),
    )  # fmt: skip
    score = {"valid_accuracy": 0.5, "test_accuracy": 0.9}
    return Findings(
        dataset=dataset,
        ranking=None,
        start={"supernet_id": None, "head": "random", "dataset_name": None, "reason": None}
        | start,
        spec={"training": {"seed": 7, "epochs": 9}},
        genotype=Genotype((NODE, NODE), (NODE, NODE)),
        metrics={
            "supernet": score,
            "discretised": score,
            "retrained": {**score, "confusion": [[5, 0], [1, 4]], "history": HISTORY},
            "arms": [{"learning_rate": 0.1, "seconds": 1.0, "history": HISTORY}],
            "best_arm": 0,
            "parameters": 1234,
            "flops": 5678,
            "onnx_difference": 1e-6,
            "seconds": {"search": 1.0},
        },
        mistakes=[Mistake(np.zeros((1, 4, 4), np.uint8), "cat<b>", "dog")],
        resolution=16,
        channels=3,
        retrain_share=0.85,
    )


@pytest.mark.parametrize("render", [report.html, report.card])
def test_a_cold_search_is_called_cold(render: Any) -> None:
    text = render(findings())
    assert "The search began cold, from random weights, with a random classifier." in text
    assert "warm" not in text


@pytest.mark.parametrize("render", [report.html, report.card])
def test_a_limit_is_told(render: Any) -> None:
    said = "The cells are the strongest whose network has at most 2,000,000 multiply-adds."
    limited = {"at_most": {"parameters": None, "flops": 2_000_000}}
    free = findings()
    assert said in render(replace(free, spec={**free.spec, **limited}))
    assert "has at most" not in render(free)


@pytest.mark.parametrize("render", [report.html, report.card])
def test_a_warm_search_names_its_source(render: Any) -> None:
    for head in ("closed_form", "closed_form_every_epoch"):
        warm = findings(supernet_id="x", dataset_name="animals", head=head)
        assert "from the supernet trained on animals, with its classifier solved" in render(warm)
    changed = {"from": {"channels": 4, "layers": 3}, "to": {"channels": 8, "layers": 5}}
    adapted = findings(supernet_id="x", dataset_name="animals", adapted=changed)
    said = "on animals, adapted from channels 4 to 8 and layers 3 to 5, with a random"
    assert said in render(adapted)


@pytest.mark.parametrize("render", [report.html, report.card])
def test_a_multi_dataset_supernet_is_named(render: Any) -> None:
    start = {"supernet_id": "x", "supernet_name": "zoo-1", "head": "closed_form"}
    assert "from the supernet zoo-1, with its classifier solved" in render(findings(**start))


def test_the_race_is_a_table_of_its_contestants() -> None:
    rung = {"epochs": 0, "valid_accuracy": 0.905, "standard_error": 0.012}
    broken = {"epochs": 0, "valid_accuracy": None, "standard_error": None}
    contestants = [
        {"name": "<b>near", "rungs": [rung], "seconds": 1.5, "out": None},
        {"name": "gone", "rungs": [broken], "seconds": 0.25, "out": "no file"},
    ]
    race = {
        "contestants": contestants,
        "winner": "<b>near",
        "reason": "alone",
        "seconds": 2.0,
        "overhead_fraction": 0.031,
    }
    page = " ".join(report.html(findings(supernet_id="x", race=race)).split())
    assert "The start was raced for: &lt;b&gt;near won (alone)." in page
    assert "2.0 seconds, 3.1 % of the whole" in page
    cells = ("&lt;b&gt;near", "90.5 ± 1.2 %", "1.5", "won", "gone", "0.2", "no file")
    assert [page.index(f">{each}</td>") for each in cells] == sorted(
        page.index(f">{each}</td>") for each in cells
    )
    assert "raced for" not in report.html(findings())


def test_names_are_escaped_in_the_page(tmp_path: Path) -> None:
    page = report.html(findings())
    assert "<i>" not in page
    assert "cat&lt;b&gt;" in page
    assert "<script" not in page


def test_the_cards_front_matter_is_quoted() -> None:
    card = report.card(findings())
    assert '- "pets <i>"' in card.split("---")[1]
    assert "retrained on 85.0 % of the" in card


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ("CC BY 4.0", {"license": "cc-by-4.0"}),
        ("Ours: ask \U0001f600", {"license": "other", "license_name": "Ours: ask \U0001f600"}),
        (None, {"license": "unknown"}),
    ],
)
def test_the_cards_front_matter_is_the_hubs(said: str | None, licence: dict[str, str]) -> None:
    found, name = findings(), "pets: 'x' \U0001f600 # y"
    dataset = replace(found.dataset, name=name, licence=said)
    _, front, text = report.card(replace(found, dataset=dataset)).split("---\n", 2)
    known = yaml.safe_load(front)
    assert {key: value for key, value in known.items() if key.startswith("license")} == licence
    assert known["datasets"] == [name]
    (result,) = known["model-index"][0]["results"]
    assert result["dataset"]["name"] == name
    (metric,) = result["metrics"]
    low, high = metric["args"]["interval"]
    assert low < metric["value"] == 0.9 < high
    assert f"95 % interval {100 * low:.1f} % to {100 * high:.1f} %" in metric["name"]
    assert ("nobody said what that is" in text) == (said is None)


def ranked(count: int, *, sources: int, proven: int, nearness: Nearness) -> str:
    """The page of a search whose ranking lists so many; white space as one blank."""
    measures = (Measure.SAMPLES, Measure.CLASSES, Measure.ESTIMATE)
    neighbours = tuple(
        Neighbour(DatasetId(uuid4()), f"source {n}", None, n + 1.0, (n + 0.5, n + 2.0), n < 2,
                  1.0, 0.0, (), measures[min(n, 2)])
        for n in range(count)
    )  # fmt: skip
    verdict = Verdict(nearness, 1.0, 2.0, 0.03, 40)
    found = findings()
    ranking = Ranking(found.dataset.id, "e@1", neighbours, 1.0, {}, sources, proven, verdict)
    return " ".join(report.html(replace(found, ranking=ranking)).split())


def test_the_ranking_says_what_is_certain_of_it() -> None:
    page = ranked(3, sources=9, proven=2, nearness=Nearness.FAR)
    assert "9 sources considered. The first 2 of these places are certain; the order" in page
    assert "Nothing registered is near: 97.0 % of 40 registered datasets lie closer" in page
    assert page.count("class statistics only") == page.count("estimated") == 1
    assert page.count("tied with the nearest") == 1
    near = ranked(2, sources=2, proven=2, nearness=Nearness.NEAR)
    assert "The places listed are certain: no other source is nearer." in near
    assert "The nearest is near: 3.0 % of 40 registered datasets" in near
    unsure = ranked(2, sources=5, proven=0, nearness=Nearness.UNKNOWN)
    assert "The order is the best that was found." in unsure
    assert "is near" not in unsure


def test_a_long_ranking_is_cut_and_an_old_one_claims_nothing() -> None:
    long = ranked(30, sources=90, proven=20, nearness=Nearness.NEAR)
    assert "source 9<" in long
    assert "source 10<" not in long
    assert "The places listed are certain" in long
    old = ranked(2, sources=0, proven=0, nearness=Nearness.UNKNOWN)
    assert "considered" not in old
    assert "certain" not in old


@pytest.mark.parametrize(
    ("share", "n", "expected"),
    [(0.9, 10, (0.596, 0.982)), (0.5, 100, (0.404, 0.596)), (1.0, 20, (0.839, 1.0))],
)
def test_the_interval_is_wilsons(share: float, n: int, expected: tuple[float, float]) -> None:
    # Figures of Brown, Cai and DasGupta's formula, worked by hand.
    assert wilson(share, n) == pytest.approx(expected, abs=1e-3)
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_a_search_that_ended_early_says_why() -> None:
    whole, early = findings(), findings()
    assert "ended after" not in report.html(whole)
    said = "converged: no better validation accuracy for 1 epochs"
    ended = [*HISTORY[:2], HISTORY[2] | {"stopped": said}]
    metrics = early.metrics | {"arms": [{"learning_rate": 0.1, "seconds": 1.0, "history": ended}]}
    text = report.html(replace(early, metrics=metrics))
    assert f"At learning rate 0.1 the search ended after 2 of 9 epochs ({said})." in text
    assert "Retraining had 2 epochs." in text
