"""The form of a search: all that can be asked for, typed again, with its control, or refused."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.datastructures import FormData

from api.search_bodies import SearchBody
from api.web import forms
from core.bootstrap import Container
from core.domain.jobs import Job, JobKind
from core.domain.searches import StartPolicy
from core.services import jobs, searches, wire
from tests.unit.api import scenes

EVERYTHING: dict[str, Any] = {
    "policy": "nearest",
    "head": "random",
    "space": {"channels": 4, "layers": 3, "nodes": 2, "resolution": 16, "cells": "s3"},
    "adapt": True,
    "training": {
        "epochs": 3, "batch_size": 16, "alpha_learning_rate": 0.01, "weight_decay": 0.002,
        "seed": 7, "method": "drnas", "guard": False, "max_skips": 3, "paths": 1,
        "generalisation_gap": 0.5, "fit_batch": True, "recompute": True, "precision": "bf16",
    },
    "learning_rates": [0.1, 0.05],
    "patience": 0,
    "retrain_epochs": 4,
    "retrain_learning_rate": 0.02,
    "retraining": {
        "augment": "cutout", "flip": True, "drop_path": 0.1, "auxiliary": 0.4,
        "label_smoothing": 0.1, "ema": 0.99, "distillation": 0.5, "precision": "bf16",
        "solve_head": True, "budget_seconds": 90.5,
    },
    "selection": "perturbation",
    "objectives": ["flops", "latency"],
    "trade_offs": "refined",
    "contribute": True,
    "budget": {"seconds": 5e3, "gpu_seconds": 6e3, "epochs": 500},
    "labels": {"run": "7", "by": "me and you"},
    "priority": -3,
}  # fmt: skip


def body(**more: Any) -> SearchBody:
    return SearchBody.model_validate({"dataset_id": str(UUID(int=7)), **more})


def searched(container: Container) -> list[Job]:
    with container.sessions.read() as session:
        return list(jobs.listing(session, limit=9, kind=JobKind.SEARCH)[0])


@pytest.mark.parametrize(
    "asked",
    [
        body(**EVERYTHING),
        body(),
        body(at_most={"flops": 2_000_000}),
        body(policy="supernet", supernet_id=str(UUID(int=9))),
        body(policy="cold", genotype=dict(scenes.GENOTYPE)),
    ],
    ids=["everything", "nothing", "a limit", "a supernet", "an architecture"],
)
def test_what_was_asked_for_can_be_typed_again(asked: SearchBody) -> None:
    told = forms.asked(wire.dump(asked.to_spec("default")), asked.priority)
    again = FormData([(name, each) for name, values in told.items() for each in values])
    assert forms.search(again, asked.dataset_id) == asked


def test_all_that_the_interface_takes_has_a_field(
    browser: httpx.Client, container: Container
) -> None:
    named = {name for name, field in SearchBody.model_fields.items() if name not in forms.PARTS}
    named -= {"dataset_id", "supernet_id", "deadline"}  # the address, `policy`, and hours
    for kind, prefix in forms.PARTS.values():
        named |= {prefix + name for name in kind.model_fields}
    page = browser.get(f"/datasets/{scenes.dataset(container).id}").text
    assert set(re.findall(r' name="([^"]+)"', page)) >= named | {"deadline_hours", "control"}


def test_a_deadline_is_so_many_hours_away() -> None:
    found = forms.search(FormData(deadline_hours="1.5"), UUID(int=7)).deadline
    assert found is not None
    wanted = datetime.now(UTC) + timedelta(hours=1.5)
    assert abs(found - wanted) < timedelta(minutes=1)


@pytest.mark.parametrize("control", [True, False])
def test_a_search_with_its_control(
    browser: httpx.Client, container: Container, control: bool
) -> None:
    target = scenes.dataset(container)
    sent = {"epochs": "3", "priority": "2", "contribute": "true", "control": str(control).lower()}
    answer = browser.post(f"/datasets/{target.id}/search", data=sent)
    made = {each.spec["policy"]: each for each in searched(container)}
    assert len(made) == 1 + control
    assert answer.headers["location"] == f"/jobs/{made[StartPolicy.RACE].id}"
    for each in made.values():
        assert each.spec["training"]["epochs"] == 3
        assert each.priority == 2
        assert each.spec["contribute"] is (each.spec["policy"] == StartPolicy.RACE)


def test_a_control_needs_no_control(browser: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    sent = {"policy": "cold", "control": "true"}
    browser.post(f"/datasets/{target.id}/search", data=sent)
    assert len(searched(container)) == 1
    said = browser.post(f"/datasets/{target.id}/estimate", data=sent).text
    assert "its control" not in said


def test_an_estimate_counts_the_control_and_keeps_to_the_budget(
    browser: httpx.Client, container: Container
) -> None:
    address = f"/datasets/{scenes.dataset(container).id}/estimate"
    usual = browser.post(address, data={"control": "true"}).text
    assert "its control takes about" in usual
    assert "No model comes of less" not in usual
    cells = json.dumps(scenes.GENOTYPE)
    given = browser.post(address, data={"policy": "cold", "genotype": cells}).text
    assert "Nothing is searched: the cells that are given are trained." in given
    assert "Tries" not in given
    torn = browser.post(address, data={"policy": "cold", "genotype": cells[:-1]})
    assert torn.status_code == 422
    assert "<code>genotype</code>: " in torn.text
    bounded = browser.post(address, data={"epochs": "4000", "budget.seconds": "600"}).text
    assert "to 10 min 0 s in four of five cases" in bounded
    assert "No model comes of less than about" in bounded
    small = browser.post(address, data={"budget.seconds": "0.001"})
    assert small.status_code == 422
    assert "<code>budget.seconds</code>: No model can be made of so little." in small.text


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("budget.epochs", "1", "budget.epochs"),
        ("deadline_hours", "0", "deadline_hours"),
        ("deadline_hours", "soon", "deadline_hours"),
        ("labels", "run", "labels.run"),
        ("retraining.ema", "2", "retraining.ema"),
        ("budget.seconds", "0.001", "budget.seconds"),
    ],
)
def test_what_is_refused_is_told_beside_all_that_was_typed(
    browser: httpx.Client, container: Container, field: str, value: str, place: str
) -> None:
    target = scenes.dataset(container)
    sent = {"epochs": "13", "objectives": ["flops"], "head": "random", field: value}
    answer = browser.post(f"/datasets/{target.id}/search", data=sent)
    assert answer.status_code == 422
    assert f"<code>{place}</code>: " in answer.text
    assert searched(container) == []
    assert re.search(r'name="epochs"[^>]*value="13"', answer.text)
    assert 'value="flops" checked' in answer.text
    assert '<option value="random" selected>' in answer.text
    assert re.search(rf'name="{field}"[^>]*value="{value}"', answer.text)


def test_a_search_can_be_changed_and_asked_for_again(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    spec = body(**EVERYTHING | {"dataset_id": str(target.id)}).to_spec("default")
    with container.sessions.begin() as session:
        _, job = searches.submit_search(session, spec, priority=-3)
    page = browser.get(f"/datasets/{target.id}/search?like={job.id}").text
    assert re.search(r'name="budget.epochs"[^>]*value="500"', page)
    assert 'value="run=7, by=me and you"' in page
    assert '<option value="false" selected>off' in page
    ranked = scenes.running(container, scenes.dataset(container, "other"), JobKind.PRETRAIN)
    for like in (ranked.id, UUID(int=1)):
        assert browser.get(f"/datasets/{target.id}/search?like={like}").status_code == 404
    assert browser.get(f"/datasets/{target.id}/search").status_code == 200


def test_the_search_form_says_what_it_would_take(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    address = f"/datasets/{target.id}/estimate"
    assert f'hx-post="{address}"' in browser.get(f"/datasets/{target.id}").text
    short, long = (browser.post(address, data={"epochs": each}).text for each in ("1", "400"))
    for said in (short, long):
        assert "<html" not in said
        assert "of computing" in said
        assert "Tries" in said
    assert short != long
    with container.sessions.read() as session:
        assert jobs.listing(session, limit=9)[0] == ()  # nothing was queued


@pytest.mark.parametrize(("field", "value"), [("epochs", "0"), ("learning_rates", "x")])
def test_what_an_estimate_cannot_be_of_is_told_by_its_field(
    browser: httpx.Client, container: Container, field: str, value: str
) -> None:
    address = f"/datasets/{scenes.dataset(container).id}/estimate"
    told = browser.post(address, data={field: value}, headers={"HX-Request": "true"})
    assert told.status_code == 422
    assert "<html" not in told.text
    assert f"<code>{'training.' * (field == 'epochs')}{field}" in told.text
