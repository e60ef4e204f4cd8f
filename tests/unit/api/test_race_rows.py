"""The race for a start as people see it: live, decided, on pages and in the terminal."""

from typing import Any

import httpx
import pytest
from sqlalchemy import update

from api import findings
from api.web import metrics, race_rows
from core.bootstrap import Container
from core.db.result_tables import SearchRow
from core.domain.jobs import JobRecord
from core.services import jobs, searches
from tests.unit.api import scenes


def rung(epochs: int, accuracy: float | None, out: str | None = None) -> dict[str, Any]:
    error = None if accuracy is None else 0.011
    return {
        "epochs": epochs,
        "train_images": 200,
        "valid_images": 200,
        "valid_accuracy": accuracy,
        "standard_error": error,
        "behind": 0.0,
        "behind_standard_error": 0.0,
        "seconds": 1.5,
        "out": out,
    }


def contestant(name: str, *rungs: dict[str, Any], **more: Any) -> dict[str, Any]:
    about = {"supernet_id": None, "dataset_name": None, "distance": None, "learning_rate": 0.1}
    seconds = sum(each["seconds"] for each in rungs)
    out = rungs[-1]["out"]
    return {"name": name, **about, "rungs": list(rungs), "seconds": seconds, "out": out, **more}


BEATEN = "9.0 ± 2.0 points behind glyphs"
START: dict[str, Any] = {
    "supernet_id": "x",
    "dataset_name": "latin",
    "race": {
        "contestants": [
            contestant(
                "glyphs", rung(0, 0.9), rung(1, 0.925), dataset_name="latin", distance=1.25
            ),
            contestant("<b>bad</b>", rung(0, None, "the file cannot be read")),
            contestant("cold start", rung(0, 0.81, BEATEN)),
        ],
        "winner": "glyphs",
        "reason": f"cold start: {BEATEN}",
        "seconds": 6.0,
        "overhead_fraction": 0.04,
    },
}


def test_contestants_as_their_last_rung_left_them() -> None:
    glyphs, bad, cold = race_rows.decided(START)
    assert glyphs.cells == (
        "glyphs (trained on latin, distance 1.25)", "1", "92.5 ± 1.1 %", "3.0", "won",
    )  # fmt: skip
    assert glyphs.won
    assert not cold.won
    assert bad.accuracy == race_rows.words.UNKNOWN
    assert bad.out == "the file cannot be read"
    assert cold.cells[2:] == ("81.0 ± 1.1 %", "1.5", BEATEN)
    said = race_rows.summary(START)
    assert "glyphs won (cold start: 9.0" in said
    assert "4.0 % of the whole" in said


def expectation(**changes: Any) -> dict[str, Any]:
    sources = [
        {"supernet_id": "y", "name": "zoo", "lead": -1.25, "interval": [-4.0, 2.5]},
        {"supernet_id": "x", "name": "glyphs", "lead": 6.5, "interval": [2.06, 11.0]},
    ]
    told = {"proven": True, "datasets": 30, "datasets_needed": 12, "searches": 57}
    return {**told, "sources": sources, **changes}


def test_what_was_expected_of_the_start() -> None:
    def said(supernet_id: str | None, **changes: Any) -> str:
        start = {"supernet_id": supernet_id, "expected": expectation(**changes)}
        return race_rows.expected(start)

    history = "from 57 earlier searches."
    assert said("x") == f"Expected head start of glyphs: +6.5 points [2.1, 11.0], {history}"
    # Where cold won: what the likeliest should have given.
    assert said(None) == f"Expected head start of zoo: -1.2 points [-4.0, 2.5], {history}"
    little = said(None, proven=False, datasets=5, sources=[])
    assert little == "Expected head start: not enough history (5 of 12 datasets)."
    assert "30 datasets, which tell no more" in said(None, proven=False, sources=[])
    for odd in ({"lead": None}, {"lead": 1.0, "interval": [1]}, {"interval": "x"}):
        assert said(None, sources=[{"name": "zoo", **odd}]) == ""
    assert said(None, sources=[]) == ""
    assert race_rows.expected({"expected": None}) == race_rows.expected({}) == ""


@pytest.mark.parametrize("start", [{}, {"race": None}, {"race": {"contestants": "x"}}])
def test_where_there_was_no_race_nothing_is_shown(start: dict[str, Any]) -> None:
    assert race_rows.decided(start) == []


def test_the_result_page_shows_the_race(browser: httpx.Client, container: Container) -> None:
    search, model = scenes.finished(container, scenes.dataset(container))
    row = update(SearchRow).where(SearchRow.id == search.id)
    with container.sessions.begin() as session:
        session.execute(row.values(start={**START, "expected": expectation()}))
        assert metrics.started_from(searches.get(session, search.id)) == "warm from latin"
    page = browser.get(f"/models/{model.id}").text
    assert "Why it started there" in page
    assert "92.5 ± 1.1 %" in page
    assert BEATEN in page
    assert "&lt;b&gt;bad" in page
    assert "Expected head start of glyphs: +6.5 points" in page
    with container.sessions.begin() as session:
        session.execute(row.values(start={**START, "supernet_id": None}))
        assert metrics.started_from(searches.get(session, search.id)) == "cold"
    # Where cold won the race, the search is its own control.
    assert "nothing here says whether" not in browser.get(f"/models/{model.id}").text


def test_the_job_page_shows_the_race_as_it_runs(
    browser: httpx.Client, container: Container
) -> None:
    job = scenes.running(container, scenes.dataset(container))
    rows = [("glyphs", rung(0, 0.9)), ("cold start", rung(0, 0.81, BEATEN)),
            ("glyphs", rung(1, 0.925))]  # fmt: skip
    lines = [
        JobRecord("race", step, {"contestant": name} | values)
        for step, (name, values) in enumerate(rows)
    ]
    with container.sessions.begin() as session:
        jobs.add_records(session, job.id, job.fence, lines)
    page = browser.get(f"/jobs/{job.id}").text
    assert "The race for the start" in page
    table = page.split("As a table")[1].split("</table>")[0]
    assert "92.5 ± 1.1 %" in table
    assert "90.0 ± 1.1 %" not in table
    assert BEATEN in table
    picture = page.split('class="picture bracket"')[1].split("</svg>")[0]
    assert "90.0 ± 1.1 %" in picture
    assert f"cold start: 81.0 ± 1.1 %; out: {BEATEN}" in picture
    assert "It is not decided yet." in picture
    assert "Seconds per epoch" not in page  # no course over epochs
    scenes.recorded(container, job)
    page = browser.get(f"/jobs/{job.id}").text
    assert "glyphs won." in page
    assert '<tr class="current" aria-current="true"><td>glyphs</td>' in page


@pytest.mark.parametrize(
    ("rungs", "won"),
    [
        ([("a", rung(0, 0.8) | {"behind": 0.1}), ("b", rung(0, 0.9))], "b"),
        ([("a", rung(0, 0.9)), ("b", rung(0, 0.9))], "a"),  # of equals the earlier
        ([("a", rung(0, 0.9)), ("b", rung(0, 0.7, "x")), ("a", rung(1, None, "diverged"))], "a"),
        ([("a", rung(0, None, "cannot be read"))], None),
    ],
)
def test_who_won_is_told_as_soon_as_the_search_goes_on(
    rungs: list[tuple[str, dict[str, Any]]], won: str | None
) -> None:
    lines = [
        JobRecord("race", step, {"contestant": name, **values})
        for step, (name, values) in enumerate(rungs)
    ]
    assert not any(each.won for each in race_rows.running(lines))
    rows = race_rows.running([*lines, JobRecord("search:0", 0, {})])
    assert [each.name for each in rows if each.won] == ([won] if won else [])


def test_a_decided_race_is_drawn() -> None:
    ran = [(each["name"], rung) for each in START["race"]["contestants"] for rung in each["rungs"]]
    lines = [JobRecord("race", at, {"contestant": name} | rung) for at, (name, rung) in
             enumerate(ran)]  # fmt: skip
    picture = race_rows.drawn([*lines, JobRecord("search:0", 0, {})])
    assert picture is not None
    assert ">won</text>" in picture
    assert "; out: the file cannot be read" in picture
    assert "<b>" not in picture
    assert [f">{each}</text>" in picture for each in ("before a step", "after 1 epoch")] == [
        True
    ] * 2
    assert race_rows.drawn([]) is None


def test_the_terminal_shows_the_race(capsys: pytest.CaptureFixture[str]) -> None:
    findings.show_start({})
    assert capsys.readouterr().out == ""
    findings.show_start({**START, "expected": expectation()})
    printed = " ".join(capsys.readouterr().out.split())
    assert "92.5 ± 1.1 %" in printed
    assert "points [2.1, 11.0], from 57 earlier searches." in printed
    assert "cold start 0 81.0 ± 1.1 % 1.5 9.0 ± 2.0 points behind glyphs" in printed
