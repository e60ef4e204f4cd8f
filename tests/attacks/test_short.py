"""Attacks of every kind that are quick, by every door; and a harness that can find fault."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks import mutations, running, scene, states, table, transport
from tests.attacks.doors import DOORS
from tests.attacks.scene import FORGED, Scene
from tests.attacks.table import Attack
from tests.attacks.transport import Request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

UPLOADS = (
    (1, "climbs"), (5, "tar long link"), (8, "quoted overlap"), (14, "nothing"), (23, "gifar"),
)  # fmt: skip
LONGER = {26: "chunked, over the limit", 31: "file name", 33: "cut", 51: "names shown"}


def known() -> dict[tuple[int, str], Attack]:
    return {(attack.row, attack.name): attack for attack in table.attacks()}


def quick() -> list[Request]:
    asked = [*transport.requests(), *states.requests()]
    return [each for each in asked if LONGER.get(each.row, "-") not in each.name]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene.staged(tmp_path_factory.mktemp("attacks")) as made:
        yield made
        last = running.afterwards(made)
    assert last.passed, last.wrong


@pytest.mark.parametrize("name", UPLOADS, ids=lambda each: f"{each[0]} {each[1]}")
def test_a_hostile_upload_is_answered_and_leaves_nothing(
    stage: Scene, name: tuple[int, str]
) -> None:
    rows = list(running.attacked(stage, known()[name], list(DOORS)))
    assert [row.door for row in rows] == list(DOORS)
    assert all(row.passed for row in rows), rows


@pytest.mark.parametrize("request_", quick(), ids=lambda r: f"{r.row} {r.name}, {r.door}")
def test_a_hostile_request_is_answered_and_leaves_nothing(stage: Scene, request_: Request) -> None:
    row = running.requested(stage, request_)
    assert row.passed, row


def test_mutated_archives_are_datasets_or_refusals(stage: Scene, tmp_path: Path) -> None:
    sent = list(mutations.over_http(stage, range(5), seed=7))
    read = list(mutations.confined(tmp_path, range(5, 110), seed=7, workers=1))
    assert [each.number for each in sent + read] == list(range(110))
    assert [each for each in sent + read if each.wrong] == []
    assert {"accepted", "corrupt_archive"} < {each.code for each in read}
    assert all(0 < each.mib <= running.MEMORY_MIB for each in read)


def test_mutations_are_the_same_again_and_differ() -> None:
    one = [mutations.mutated(number, 3) for number in range(40)]
    assert one == [mutations.mutated(number, 3) for number in range(40)]
    assert {kind for kind, _ in one} == set(mutations.KINDS)
    assert len({data for _, data in one}) > 35


def test_another_answer_is_found_out(stage: Scene) -> None:
    attack = replace(known()[1, "climbs"], code="bad_name")
    (row,) = running.attacked(stage, attack, ["rest"])
    assert row.wrong == ("answered 422 unsafe_path, not 422 bad_name",)


def test_what_is_left_is_found_out(stage: Scene) -> None:
    before = stage.kept()
    escaped = [stage.folder / "one" / "x.png", stage.home / "objects" / "stray"]
    for path in escaped:
        path.touch()
    try:
        wrong = list(running.left(before, stage, made=0))
    finally:
        for path in escaped:
            path.unlink()
    assert wrong == ["files outside its home: ['one/x.png']", "objects left: ['stray']"]
    assert list(running.left(before, stage, made=0)) == []


def test_lines_that_are_no_objects_are_found_out() -> None:
    forged = [f'{{"{FORGED}": 1}}', f"INFO:     {FORGED}", "Traceback", "[1]"]
    honest = ['{"event": "x\\n' + FORGED + '"}', "INFO:     Started server process [1]"]
    assert scene.unlike_json([*honest, *forged]) == forged


def test_a_reader_that_dies_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = {"code": "accepted", "cpu": 0.1, "mib": 9.0, "wrong": []}
    ends = iter([([read], -11), ([read], 0)])
    monkeypatch.setattr(mutations, "_process", lambda *_: next(ends))
    found = list(mutations.confined(tmp_path, range(3), seed=1, workers=1))
    assert [each.wrong for each in found] == [(), ("ended its process with -11",), ()]


def test_a_reader_that_raises_or_takes_too_much_is_found_out(tmp_path: Path) -> None:
    (told,), status = mutations._process(tmp_path, [tmp_path / "nowhere"])
    assert status == 0
    assert told["wrong"][0].startswith("raised FileNotFoundError")
    dear = mutations._outcome(1, "zip", {**told, "cpu": 9.0, "mib": 300.0, "wrong": []})
    assert dear.wrong == ("took 9.0 s of CPU", "took 300 MiB")


def test_cpu_alone_is_measured_once_more(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = f"{running.SLOW} 9.0 s"
    for measured, expected in (([[slow], []], ()), ([[slow], [slow]], (slow,)), ([[]], ())):
        prices = iter(measured)
        monkeypatch.setattr(running, "dear", lambda _, prices=prices: next(prices))
        (row,) = running.attacked(stage, known()[14, "nothing"], ["rest"])
        assert next(prices, None) is None
        assert row.wrong == expected
