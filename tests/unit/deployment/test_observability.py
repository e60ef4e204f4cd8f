"""The dashboard and the alerts ask for metrics that exist, by labels and values that they have."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.routing import APIRoute

from api import metrics
from api.app import RESOURCES
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.jobs import JobKind, JobState
from core.execution import deliveries, failures, mlflow_sender
from core.execution.metrics import FINISHED, REQUEUED, Everything
from core.services import moves
from tests.unit.deployment.dockerfiles import PROJECT

FOLDER = PROJECT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "headstart.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [each["expr"] for each in (*TARGETS, *RULES)]
NAME = re.compile(r"\b(?:headstart|process)_\w+")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
MATCHED = re.compile(r'(\w+)(?:=~?|!=)"([^"]*)"')
SHOWN = re.compile(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}")
# What labels of these are asked for by name.
VALUES = {
    "status": re.compile(r"[45]\.\.|\[45\]\.\."),
    "state": re.compile("failed"),
    "code": re.compile(failures.INTERNAL),
    "reason": re.compile(moves.WORKER_LOST),
    "outcome": re.compile("delivered"),
}


@pytest.fixture
def known(migrated_sqlite: Path) -> dict[str, set[str]]:
    """The labels of every sample that can be told."""
    metrics.REQUESTS.labels("jobs_list", "GET", "200")
    metrics.SECONDS.labels("jobs_list")
    FINISHED.labels(JobKind.EMBED, JobState.FAILED, failures.INTERNAL)
    REQUEUED.labels(JobKind.EMBED, moves.WORKER_LOST)
    deliveries.SENT.labels("delivered")
    mlflow_sender.TOLD.labels("told")
    sessions = Sessions(f"sqlite:///{migrated_sqlite}").within(DEFAULT)
    families = list(Everything(sessions, patience=60).collect())
    sessions.dispose()
    return {each.name: set(each.labels) for family in families for each in family.samples}


def test_every_metric_exists_and_has_the_labels(known: dict[str, set[str]]) -> None:
    for expression in EXPRESSIONS:
        names = NAME.findall(expression)
        assert names, expression
        assert set(names) <= set(known), expression
        labels = set.intersection(*(known[name] for name in names))
        asked = {each for by in GROUPED.findall(expression) for each in by.split(", ")}
        asked |= {label for label, _ in MATCHED.findall(expression)}
        assert asked <= labels, expression


def test_nothing_that_is_told_is_left_out(known: dict[str, set[str]]) -> None:
    shown = {name for each in TARGETS for name in NAME.findall(each["expr"])}
    ours = {name for name in known if name.startswith("headstart_")}
    assert {re.sub("_(sum|count)$", "_bucket", name) for name in ours} == shown - {
        "process_resident_memory_bytes"
    }


def test_values_asked_for_are_values_that_occur() -> None:
    operations = {
        route.operation_id
        for resource in RESOURCES
        for route in resource.router.routes
        if isinstance(route, APIRoute)
    }
    for expression in EXPRESSIONS:
        for label, value in MATCHED.findall(expression):
            if label == "operation":
                assert set(value.split("|")) <= operations
            else:
                assert VALUES[label].fullmatch(value), expression


def test_a_counter_is_never_shown_bare() -> None:
    for expression in EXPRESSIONS:
        for found in re.finditer(r"\b\w+_(total|bucket)\b", expression):
            assert re.search(r"(rate|increase)\(\s*$", expression[: found.start()]), expression
        assert expression.count("(") == expression.count(")")


def test_what_is_told_apart_is_what_was_grouped_by() -> None:
    told = [(each["expr"], each["legendFormat"]) for each in TARGETS]
    told += [(each["expr"], json.dumps(each["annotations"])) for each in RULES]
    for expression, words in told:
        by = {each for found in GROUPED.findall(expression) for each in found.split(", ")}
        assert set(SHOWN.findall(words)) <= by | {"instance"}, expression


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    assert len({each["id"] for each in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "warn"}
        assert set(rule["annotations"]) == {"summary", "action"}
