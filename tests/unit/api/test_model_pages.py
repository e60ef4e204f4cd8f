"""A model's page: its accuracies kept apart, what it confuses and cost, and against what."""

import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from core.bootstrap import Container
from core.db.result_tables import SearchRow
from core.domain.jobs import JobId
from core.domain.searches import AtMost, Model, Objective, Retraining, StartPolicy, Training
from core.services import datasets, gains, jobs, wire
from tests.unit.api import scenes


def test_a_result_page_tells_why_it_started_there(
    browser: httpx.Client, container: Container
) -> None:
    target, sources = scenes.dataset(container), [scenes.dataset(container, "source")]
    made = scenes.evidence(container, target, sources, proven=1)
    _, model = scenes.finished(container, target, ranking=made)
    page = browser.get(f"/models/{model.id}").text
    assert "This neighbour is certain: none of the 10 other sources is nearer." in page
    assert "The nearest is near: 62.5 %" in page
    assert f'href="/datasets/{target.id}#alike"' in page


def test_a_result_page_without_a_control_offers_one(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    search, model = scenes.finished(container, target)
    page = browser.get(f"/models/{model.id}").text
    for shown in ("93.0 %", "61.0 %", "95.0 %", "48,211 parameters", "model.onnx"):
        assert shown in page
    assert "nothing here says whether the head start helped" in page
    asked = browser.post(f"/jobs/{search.job_id}/control")
    assert asked.headers["location"] != f"/jobs/{search.job_id}"  # which asks for no news
    assert f'href="/jobs/{search.job_id}"' in browser.get(asked.headers["location"]).text
    assert f'action="/jobs/{search.job_id}/control"' in page
    assert page.count('class="picture cell"') == 2
    assert page.count(">sep_conv_3x3</text>") == 8
    assert 'class="picture matrix"' in page


def test_a_result_page_sets_cold_beside_warm(browser: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    _, cold = scenes.finished(container, target, policy=StartPolicy.COLD)
    _, warm = scenes.finished(container, target)
    page = browser.get(f"/models/{warm.id}").text
    assert "nothing here says whether" not in page
    assert f"/models/{cold.id}" in page
    assert "cold, head solved every epoch, seed 0" in page
    assert "Validation accuracy by epoch" in page


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (0.0, "was as good after 5 epochs (9.0 s), once its start had been chosen in 3.5 s."),
        (0.2, "was as good after 1 epoch (3.0 s)"),
        (0.3, "was as good before its first epoch (1.5 s)"),
        (-0.1, "did not reach it: its own best was 55.0 %."),
    ],
)
def test_a_result_page_says_what_the_head_start_was_worth(
    browser: httpx.Client, container: Container, shift: float, said: str
) -> None:
    target = scenes.dataset(container)
    _, cold = scenes.finished(container, target, policy=StartPolicy.COLD)
    rows = [row | {"valid_accuracy": row["valid_accuracy"] + shift} for row in scenes.HISTORY]
    seconds = {"start": 2.5, "race": 1.0, "search": 9.0, "retrain": 4.0, "odd": "x"}
    found = scenes.METRICS | {"arms": [{"history": rows}], "seconds": seconds}
    _, warm = scenes.finished(container, target, metrics=found)
    page = browser.get(f"/models/{warm.id}").text
    told = "The best validation accuracy of the cold search was 65.0 %, after 5 epochs (9.0 s). "
    assert said in page.split(told + "This search ")[1].split("</p>")[0]
    assert "was as good" not in browser.get(f"/models/{cold.id}").text
    costs = page.split("What it cost")[1].split("</table>")[0]
    assert costs.index("racing the candidate starts") < costs.index("searching")
    assert "54.5 %" in costs  # 9 of 16.5


def test_a_result_page_shows_what_is_confused(browser: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container, classes=3)
    confused = [{"true": 2, "predicted": 0, "count": 4, "images": [13, 11]}]
    found = {"confusion": [[5, 0, 0], [1, 4, 0], [4, 0, 1]], "confused": confused}
    _, model = scenes.finished(container, target, metrics={"retrained": found})
    page = browser.get(f"/models/{model.id}").text.split('id="confused"')[1]
    image = f'src="/v1/datasets/{target.id}/images/13.png?split=test" alt="a test image of class 2'
    assert image in page
    assert page.count("<img") == 2
    assert "4 of 5" in page
    worst, middle, best = page.split("<tbody>")[1].split("</tr>")[:3]
    for told in ("class 2", "20.0 %", "3.6 to 62.4 %", "100.0 %", "33.3 %", "class 0"):
        assert told in worst
    assert "80.0 %" in middle
    assert "50.0 %" in best  # the precision of what two other classes were taken for

    old = {"retrained": {"confusion": found["confusion"]}}
    _, model = scenes.finished(container, target, metrics=old, policy=StartPolicy.COLD)
    page = browser.get(f"/models/{model.id}").text.split('id="confused"')[1]
    assert "4 of 5" in page
    assert "<img" not in page


def test_of_many_classes_the_worst_are_shown(browser: httpx.Client, container: Container) -> None:
    many = [[int(row == column) for column in range(120)] for row in range(120)]
    _, model = scenes.finished(
        container,
        scenes.dataset(container, classes=120),
        metrics={"retrained": {"confusion": many}},
    )
    page = browser.get(f"/models/{model.id}").text
    assert "It made no mistake on the test images." in page
    assert "The other 80" in page
    assert "picture matrix" not in page


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {
            "retrained": {
                "confusion": [[1, 1], [1, 1]],
                "confused": [7, {"true": 0}, {"true": 0, "predicted": 1, "images": "x"}],
            }
        },
        {"retrained": None, "arms": None, "best_arm": "x"},
        {"arms": [], "best_arm": 3},
        {"arms": [{"history": [{"epoch": 1}, 7, {"valid_accuracy": "high"}]}], "best_arm": 0},
        {"retrained": {"confusion": [[1], "x", None]}, "supernet": [], "flops": True},
        {"selection": {"candidates": [7, {"accuracy": []}], "trade_offs": [{"latency": "?"}]}},
    ],
)
def test_odd_metrics_leave_a_whole_page(
    browser: httpx.Client, container: Container, metrics: Mapping[str, Any]
) -> None:
    target = scenes.dataset(container)
    _, model = scenes.finished(container, target, metrics=metrics, genotype={"normal": [["?"]]})
    answer = browser.get(f"/models/{model.id}")
    assert answer.status_code == 200
    assert answer.text.rstrip().endswith("</html>")


def test_a_result_page_shows_what_the_cells_were_chosen_from(
    browser: httpx.Client, container: Container
) -> None:
    found = dict(scenes.GENOTYPE)
    scored = [
        {
            "origin": "sample",
            "accuracy": 0.71,
            "loss": 0.912,
            "parameters": 30_100,
            "genotype": found,
        },
        {"origin": "magnitude", "accuracy": 0.68, "loss": 1.004, "parameters": 28_000},
    ]
    traded = [
        {"accuracy": 0.71, "parameters": 30_100.0, "latency": 0.00123},
        {"accuracy": 0.66, "parameters": 12_000.0, "latency": None},
    ]
    chosen = {"by": "best-of", "candidates": scored, "trade_offs": traded}
    chosen["trade_offs_by"] = "refined"
    _, model = scenes.finished(
        container, scenes.dataset(container), metrics=scenes.METRICS | {"selection": chosen}
    )
    page = browser.get(f"/models/{model.id}").text
    assert "2 pairs of cells were scored" in page
    table = page.split("<th>From</th>")[1]
    assert table.index("71.0 %") < table.index("68.0 %")
    assert page.count('class="picture front"') == 1  # of the latency only one is known
    assert "<title>71.0 %, 30,100 parameters (sample)</title>" in page
    assert ">retrained</text>" in page
    assert "30,100" in page
    assert "Milliseconds" in page
    assert "1.23" in page
    assert "Accuracies with inherited weights, tuned along cells like these." in page
    assert "Multiply-adds" not in page.split("What accuracy costs")[1].split("</table>")[0]


OTHER = dict(scenes.GENOTYPE) | {"reduction": [[["max_pool_3x3", 0], ["skip_connect", 1]]] * 4}
RETRAINING = Retraining(flip=True, distillation=0.5)


@pytest.fixture
def traded(container: Container) -> Model:
    """A model whose search listed three trade-offs: its own, another, and one of odd cells."""
    rows = [
        {"accuracy": 0.71, "parameters": 30_100.0, "genotype": dict(scenes.GENOTYPE)},
        {"accuracy": 0.66, "parameters": 12_000.0, "genotype": OTHER},
        {"accuracy": 0.6, "parameters": 9_000.0, "genotype": {"normal": "?"}},
    ]
    retrained = {"test_accuracy": 0.95, "history": [{"epoch": n} for n in range(8)]}
    found = scenes.METRICS | {"retrained": retrained, "selection": {"trade_offs": rows}}
    _, model = scenes.finished(
        container, scenes.dataset(container), metrics=found, training=Training(seed=5),
        objectives=(Objective.PARAMETERS,), retraining=RETRAINING,
    )  # fmt: skip
    return model


def test_another_of_the_trade_offs_can_be_trained(
    browser: httpx.Client, container: Container, traded: Model
) -> None:
    page = browser.get(f"/models/{traded.id}").text
    costs = page.split("What accuracy costs")[1].split("</table>")[0]
    assert "retrained: this model" in costs.split("<tbody>")[1].split("66.0 %")[0]
    (form,) = re.findall(r"<form.*?</form>", costs, re.DOTALL)
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form))
    sent = {name: unescape(value) for name, value in fields.items()}
    answer = browser.post(f"/datasets/{traded.dataset_id}/search", data=sent)
    assert answer.status_code == 303, answer.text
    with container.sessions.read() as session:
        job = jobs.get(session, JobId(UUID(answer.headers["location"].removeprefix("/jobs/"))))
    assert (job.spec["genotype"], job.spec["policy"]) == (OTHER, "cold")
    assert job.spec["retrain_epochs"] == 7  # as many as its retraining had
    assert (job.spec["training"]["seed"], job.spec["objectives"]) == (5, [])
    assert job.spec["retraining"] == wire.dump(replace(RETRAINING, distillation=0.0))
    assert job.spec["labels"] == {"chosen-from": str(traded.id)}
    watched = browser.get(answer.headers["location"]).text
    assert "Retraining the derived network" in watched
    assert "Searching</h3>" not in watched
    assert "The guard against collapse" not in watched


def test_the_page_of_a_given_architecture_tells_what_it_has(
    browser: httpx.Client, container: Container, traded: Model
) -> None:
    alone = {"retrained": {"test_accuracy": 0.96}, "arms": [], "best_arm": None}
    with container.sessions.read() as session:
        target = datasets.get(session, traded.dataset_id)
    _, trained = scenes.finished(
        container, target, metrics=alone, genotype=OTHER, policy=StartPolicy.COLD, given=OTHER,
        labels={"chosen-from": str(traded.id)},
    )  # fmt: skip
    said = browser.get(f"/models/{trained.id}").text
    assert f'Architecture chosen from <a href="/models/{traded.id}">this model</a>, seed 0' in said
    assert "The cells that were given" in said
    assert "Run the control" not in said
    scores = said.split('class="scores"')[1].split("</section>")[0]
    assert scores.count("<article") == 1
    assert f'<a href="/models/{trained.id}">given architecture, seed 0</a>' in said

    # It is no control of what begins elsewhere.
    begun = update(SearchRow).values(start={"supernet_id": None, "race": None})
    with container.sessions.begin() as session:
        session.execute(begun)
        assert [each.model_id for each in gains.newest(session)] == [traded.id]


def test_a_result_page_says_what_the_network_was_allowed(
    browser: httpx.Client, container: Container
) -> None:
    target, limit = scenes.dataset(container), AtMost(parameters=50_000)
    _, limited = scenes.finished(container, target, at_most=limit)
    _, free = scenes.finished(container, target)
    said = "The cells are the strongest whose network has at most 50,000 parameters."
    assert said in browser.get(f"/models/{limited.id}").text
    shown = browser.get(f"/models/{free.id}").text
    assert "has at most" not in shown
    named = rf'<a href="/models/{limited.id}">[^<]*, at most 50,000 parameters</a>'
    for page in (shown, browser.get("/models").text):
        assert re.search(named, page)
        assert page.count('<td class="number">48,211</td>') == 2


def test_one_candidate_is_no_choice(browser: httpx.Client, container: Container) -> None:
    alone = {"by": "magnitude", "candidates": [{"origin": "magnitude"}], "trade_offs": []}
    _, model = scenes.finished(
        container, scenes.dataset(container), metrics=scenes.METRICS | {"selection": alone}
    )
    page = browser.get(f"/models/{model.id}").text
    assert "chose from" not in page
    assert "What accuracy costs" not in page


def test_a_model_page_says_why_its_search_ended(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    _, model = scenes.finished(container, target)
    assert "The search ended" not in browser.get(f"/models/{model.id}").text
    said = "converged: no better validation accuracy for 2 epochs"
    ended = [*scenes.HISTORY[:-1], scenes.HISTORY[-1] | {"stopped": said}]
    arm = {"learning_rate": 0.025, "seconds": 12.0, "history": ended}
    retrained = scenes.METRICS["retrained"] | {"history": scenes.HISTORY}
    metrics = scenes.METRICS | {"arms": [arm], "retrained": retrained}
    _, early = scenes.finished(container, target, metrics=metrics)
    page = browser.get(f"/models/{early.id}").text
    assert f"The search ended after 5 of 20 epochs ({said})" in page
    assert "retrained for 5" in page
