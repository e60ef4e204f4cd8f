"""How a search's cells became what they are, shown epoch by epoch."""

import json
import re
from typing import Any

import httpx
import pytest

from api.web import architecture, job_pages
from core.bootstrap import Container
from core.domain.jobs import Job, JobKind, JobRecord, Progress
from core.nas.genotype import Edge, Genotype
from core.nas.space import CELL_SPACES
from core.services import jobs
from tests.unit.api import scenes

OPERATIONS = CELL_SPACES["darts"].operations


def genotype(operation: str, cells: str = "darts") -> Genotype:
    space = CELL_SPACES[cells]
    nodes = tuple(
        tuple(Edge(operation, source) for source in range(space.kept or node + space.inputs))
        for node in range(3)
    )
    return Genotype(nodes, nodes if space.reduction else (), cells)


def record(epoch: int, operation: str, *, stage: str = "search:0", **values: Any) -> JobRecord:
    rows = [[0.5 if name == operation else 0.5 / 7 for name in OPERATIONS]] * 9
    told = {
        "epoch": epoch,
        "valid_accuracy": 0.5,
        "entropy_normal": 1.25,
        "entropy_reduction": 1.5,
        "alphas_normal": rows,
        "alphas_reduction": rows,
        "genotype": json.loads(genotype(operation).to_json()),
    }
    return JobRecord(stage, epoch, told | values)


COURSE = (
    record(0, "max_pool_3x3"),
    record(1, "sep_conv_3x3", eigenvalue=0.25, decided_skips=1),
    record(2, "skip_connect", stopped="collapsed: 8 skip connections lead their edges"),
)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, 2),
        ({"epoch": 1}, 1),
        ({"epoch": 1, "of": 1}, 2),  # was the end, and there is more by now
        ({"epoch": 0, "of": 2}, 0),
        ({"epoch": 9}, 2),
        ({"stage": "search:7", "epoch": 1}, 1),
    ],
)
def test_the_epoch_that_is_asked_for_or_the_latest(asked: dict[str, Any], shown: int) -> None:
    found = architecture.moment(COURSE, **asked)
    assert found is not None
    assert (found.epoch, found.first, found.last, found.stage) == (shown, 0, 2, "search:0")


def test_what_is_shown_of_an_epoch() -> None:
    found = architecture.moment(COURSE, epoch=1)
    assert found is not None
    assert dict(found.facts) == {
        "Skip connections": "0",
        "Decided ones": "1",
        "Entropy, normal cell": "1.25 nats",
        "Entropy, reduction cell": "1.50 nats",
        "Curvature": "0.25",
        "Guard": "healthy",
        "Validation accuracy": "50.0 %",
    }
    assert [name for name, _ in found.cells] == ["Normal cell", "Reduction cell"]
    assert "sep_conv_3x3: " in found.cells[0][1]
    (_, heat), _ = found.alphas
    for edge in ("k\N{MINUS SIGN}2 → 0", "k\N{MINUS SIGN}1 → 2", "1 → 2"):
        assert f">{edge}<" in heat
    assert "0 → 3" not in heat
    collapsed = architecture.moment(COURSE)
    assert collapsed is not None
    assert dict(collapsed.facts)["Skip connections"] == "6"
    assert dict(collapsed.facts)["Guard"].startswith("collapsed")


def test_other_spaces_and_other_runs() -> None:
    spelled = json.loads(genotype("conv_3x3", "nas-bench-201").to_json())
    rows = [[0.2] * 5] * 6
    alone = record(0, "skip_connect", alphas_normal=rows, alphas_reduction=[], genotype=spelled)
    found = architecture.moment((alone, record(4, "sep_conv_3x3", stage="search:1")))
    assert found is not None
    assert (found.stages, found.stage, found.epoch) == (("search:0", "search:1"), "search:1", 4)
    found = architecture.moment((alone,), stage="search:0")
    assert found is not None
    assert [name for name, _ in found.cells] == ["Cell"]
    assert [name for name, _ in found.alphas] == ["Normal cell"]
    assert ">k\N{MINUS SIGN}1 → 0<" in found.alphas[0][1]


@pytest.mark.parametrize("spelled", [None, "x", {}, {"normal": [], "reduction": []}])
def test_what_is_no_genotype_is_not_shown(spelled: object) -> None:
    assert architecture.moment((record(0, "skip_connect", genotype=spelled),)) is None


@pytest.mark.parametrize("rows", [None, "x", [[1.0]], [["a"] * 8], [[1.0] * 7]])
def test_odd_alphas_leave_the_cell(rows: object) -> None:
    found = architecture.moment((record(0, "sep_conv_3x3", alphas_normal=rows),))
    assert found is not None
    assert len(found.cells) == 2


@pytest.fixture
def job(container: Container) -> Job:
    made = scenes.running(container, scenes.dataset(container))
    with container.sessions.begin() as session:
        jobs.add_records(session, made.id, made.fence, COURSE)
    return made


def test_a_job_page_goes_back_in_time(
    browser: httpx.Client, container: Container, job: Job
) -> None:
    page = browser.get(f"/jobs/{job.id}").text
    assert 'id="shown">2</output> of 2, following' in page
    assert page.count("svg") > 8
    earlier = browser.get(f"/jobs/{job.id}?of=2&epoch=0").text  # as the form asks without scripts
    assert 'id="shown">0</output> of 2' in earlier
    assert "max_pool_3x3: " in earlier
    part = browser.get(f"/jobs/{job.id}/architecture?epoch=1&of=2")
    assert "<html" not in part.text
    assert 'id="shown">1</output> of 2' in part.text
    (again,) = re.findall(r'hx-get="([^"]+seen=[^"]+)"', part.text)
    assert browser.get(f"{again}&epoch=1&of=2").status_code == 204  # nothing new
    with container.sessions.begin() as session:
        jobs.add_records(session, job.id, job.fence, [record(3, "sep_conv_5x5")])
        progress = Progress("search:0", 0.5)
        jobs.beat(
            session, job.id, job.fence, lease_seconds=600, cost_seconds=1.0, progress=progress
        )
    assert 'id="shown">1</output> of 3' in browser.get(f"{again}&epoch=1&of=2").text
    assert 'id="shown">3</output> of 3' in browser.get(f"{again}&epoch=2&of=2").text
    assert re.search(r'<input id="epoch"[^>]* min="0" max="2" value="1"', part.text)


def test_a_page_is_drawn_once_for_all_who_look_at_it(
    browser: httpx.Client, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, moment = [], architecture.moment

    def counted(*given: Any, **asked: Any) -> architecture.Moment | None:
        drawn.append(asked["epoch"])
        return moment(*given, **asked)

    monkeypatch.setattr(architecture, "moment", counted)
    monkeypatch.setattr(job_pages, "PAGES", 2)
    path = f"/jobs/{job.id}/architecture"
    first, second = (browser.get(path, params={"epoch": 1, "seen": "x"}) for _ in range(2))
    assert (first.text, drawn) == (second.text, [1])
    assert len(second.headers.get_list("x-request-id")) == 1
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    for epoch in (0, 2, 1):  # more than are kept
        assert f'id="shown">{epoch}</output>' in browser.get(path, params={"epoch": epoch}).text
    assert drawn == [1, 0, 2, 1]


def test_there_is_no_architecture_of_other_jobs(
    browser: httpx.Client, container: Container
) -> None:
    job = scenes.running(container, scenes.dataset(container), JobKind.PRETRAIN)
    scenes.recorded(container, job)
    assert "The architecture, epoch by epoch" not in browser.get(f"/jobs/{job.id}").text
    assert browser.get(f"/jobs/{job.id}/architecture").status_code == 404


def test_an_architecture_is_waited_for(browser: httpx.Client, container: Container) -> None:
    job = scenes.running(container, scenes.dataset(container))
    page = browser.get(f"/jobs/{job.id}").text
    assert "The cells appear here as soon as" in page
    (again,) = re.findall(r'hx-get="(/jobs/[^"]+/architecture\?seen=[^"]+)"', page)
    assert browser.get(again).status_code == 204
    with container.sessions.begin() as session:
        jobs.add_records(session, job.id, job.fence, COURSE)
        progress = Progress("search:0", 0.5)
        jobs.beat(
            session, job.id, job.fence, lease_seconds=600, cost_seconds=1.0, progress=progress
        )
    assert 'id="shown">2</output> of 2, following' in browser.get(again).text
