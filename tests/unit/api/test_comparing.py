"""`headstart rank` and `headstart explain`: they claim no more than the service does."""

import json
from dataclasses import replace

import httpx
import pytest

from core.bootstrap import Container
from core.domain.datasets import Dataset
from core.domain.jobs import QUEUE_OF, JobKind
from core.domain.searches import RankSpec
from core.services import datasets, jobs, wire
from tests.unit.api import scenes
from tests.unit.api.conftest import Bell, Say

NAMES = ("first", "second", "third", "fourth")


class Worker:
    """As far as a client can tell: every rank job succeeds at once."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.target = scenes.dataset(container)
        self.sources = [scenes.dataset(container, name, classes=4) for name in NAMES]
        self.supernets = {
            each.id: scenes.supernet(container, each).id for each in self.sources[1::2]
        }
        self.asked: list[RankSpec] = []

    def work(self) -> None:
        with self.container.sessions.begin() as session:
            queue = QUEUE_OF[JobKind.RANK]
            job = jobs.claim(session, queue=queue, owner="test", lease_seconds=600)
            assert job is not None
            self.asked.append(wire.load(RankSpec, job.spec))
            jobs.finish(session, job.id, job.fence, {})
        chosen: list[Dataset] = [
            each
            for each in self.sources
            if each.id in self.supernets or not self.asked[-1].supernets_only
        ]
        scenes.evidence(self.container, self.target, chosen, supernets=self.supernets, proven=3)


@pytest.fixture
def worker(container: Container, bell: Bell, monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = Worker(container)
    ring = bell.announce
    monkeypatch.setattr(bell, "announce", lambda *about: (ring(*about), made.work()))
    return made


def test_a_ranking_in_the_terminal(worker: Worker, say: Say) -> None:
    printed = say("rank", "animals")
    lines = printed.splitlines()
    assert lines[0] == "0"
    assert lines[1].split()[:2] == ["source", "distance"]
    rows = [line.split() for line in lines[2:6]]
    assert [row[1] for row in rows] == list(NAMES)
    assert rows[0][2:6] == ["2", "1.5", "to", "2.6"]
    assert "is the nearest of 31 % of registered datasets: a common neighbour" in lines[2]
    assert "tied with the nearest by distance" in lines[3]  # the scene has corrected ones
    assert " yes " in lines[3]
    assert "class statistics only" in lines[4]
    assert "estimated" in lines[5]
    assert lines[6].startswith("approximate: The first 3 are certain; the order of the other")
    assert lines[7].startswith("The nearest is near: 62.5 % of 40 registered datasets")
    assert worker.asked == [RankSpec(worker.target.id, "oriented-energy@1")]


def test_options_reach_the_job_and_the_list(worker: Worker, say: Say) -> None:
    printed = say("rank", "animals", "-k", "1", "--supernets-only", "--hubness", "local_scaling")
    assert "second" in printed
    assert "exact: This neighbour is certain: none of the 11 other sources is nearer." in printed
    for absent in ("first", "fourth"):
        assert absent not in printed
    (asked,) = worker.asked
    assert (asked.k, asked.supernets_only, asked.hubness.value) == (1, True, "local_scaling")
    assert say("rank", "animals", "-k", "0").startswith("2\n")
    assert say("rank", "animals", "--hubness", "mutual").startswith("2\n")
    assert len(worker.asked) == 1


def test_json_is_the_services_own_answer(worker: Worker, say: Say, client: httpx.Client) -> None:
    status, _, body = say("rank", "animals", "-k", "2", "--json").partition("\n")
    at = f"/v1/datasets/{worker.target.id}/neighbours"
    assert status == "0"
    assert json.loads(body) == client.get(f"{at}?k=2").json()
    _, _, body = say("explain", "animals", "second", "--json").partition("\n")
    assert json.loads(body) == client.get(f"{at}/{worker.sources[1].id}").json()


def test_an_explanation(worker: Worker, say: Say) -> None:
    say("rank", "animals")
    printed = say("explain", "animals", "second")
    assert "second: place 2 (certain), distance 3 (2.5 to 3.6)" in printed
    assert "rests on 30 and 30 images" in printed
    lines = [line.split() for line in printed.splitlines()]
    assert ["features", "6.75", "75", "%"] in lines
    assert ["labels", "2.25", "25", "%"] in lines
    assert ["class", "0", "class", "0", "50", "%"] in lines
    assert "lighter matches" not in printed
    assert "place 4 (the best that was found)" in say("explain", "animals", "fourth")
    stranger = say("explain", "second", "animals")
    assert stranger.startswith("1\n")
    assert "(not_ranked)" in stranger
    assert "(not_a_neighbour)" in say("explain", "animals", "animals")


def test_of_many_matches_the_heaviest_are_printed(container: Container, say: Say) -> None:
    target, source = (
        scenes.dataset(container, classes=4),
        scenes.dataset(container, "s", classes=5),
    )
    scenes.evidence(container, target, [source])
    printed = say("explain", "animals", source.id.hex)
    assert printed.count("class 0") + printed.count("class 1") >= 10
    assert "and 10 lighter matches" in printed


def test_nothing_to_compare_with(container: Container, worker: Worker, say: Say) -> None:
    worker.sources = []
    assert "There is nothing to compare with yet" in say("rank", "animals")


def test_a_corrected_distance_has_its_column_only_where_one_was_asked_for(
    container: Container, say: Say, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "corrected" in say("rank", "animals")
    record = datasets.record_ranking

    def without(session: object, ranking: object) -> None:
        plain = tuple(replace(each, scaled=None) for each in ranking.neighbours)  # type: ignore[attr-defined]
        record(session, replace(ranking, neighbours=plain))  # type: ignore[arg-type,type-var]

    monkeypatch.setattr(datasets, "record_ranking", without)
    assert "corrected" not in say("rank", "animals")
