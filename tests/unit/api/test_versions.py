"""Versions over HTTP: what changed, and that a deleted dataset is gone from everywhere."""

import hashlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api import comparing
from core.bootstrap import Container
from core.data.prepared import Prepared
from core.domain.datasets import DatasetId
from core.domain.identity import DEFAULT
from core.domain.jobs import JobState, QueueName
from core.errors import Unavailable
from core.execution import deletion
from core.execution.collector import Finding, Kind, collect
from core.execution.supervisor import Supervisor
from core.pipelines import ingest_dataset
from core.services import datasets, jobs, work
from core.storage.local import LocalStore
from tests.unit.api import scenes
from tests.unit.api.archives import Members, class_folders, png, zipped

CODE = "code"
ANIMALS = class_folders()


def upload(client: httpx.Client, members: Members, **query: str) -> httpx.Response:
    given = {"name": "animals", **query}
    headers = {"Content-Type": "application/zip"}
    return client.post("/v1/datasets", params=given, content=zipped(members), headers=headers)


def uploaded(client: httpx.Client, members: Members = ANIMALS, **query: str) -> dict[str, Any]:
    answer = upload(client, members, **query)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def idle(container: Container) -> None:
    """Every job that waits is cancelled."""
    with container.sessions.begin() as session:
        for job in jobs.listing(session, limit=100)[0]:
            if not job.finished:
                jobs.cancel(session, job.id)


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()[CODE]


def test_versions_and_what_changed(client: httpx.Client) -> None:
    split = {f"train/{name}": data for name, data in ANIMALS.items()}
    split |= {f"test/{name}": png(150 + i) for i, name in enumerate(("cat/t.png", "dog/t.png"))}
    first = uploaded(client, split, licence="CC0-1.0", source="https://example.org/a")
    changed = dict(split)
    moved = changed.pop("train/cat/0.png")
    changed["train/dog/from-cat.png"] = moved
    del changed["train/dog/1.png"]
    changed["test/cat/from-train.png"] = changed.pop("train/cat/1.png")
    changed |= {f"{part}/emu/{i}.png": png(180 + i) for i, part in enumerate(("train", "test"))}
    second = uploaded(client, changed, parent_id=first["id"], name="more animals")
    assert (first["licence"], first["source"]) == ("CC0-1.0", "https://example.org/a")
    assert (second["version"], second["parent_id"], second["licence"]) == (2, first["id"], None)

    for each in (first, second):
        family = client.get(f"/v1/datasets/{each['id']}/versions").json()
        told = [(one["version"], one["id"], one["deleted_at"]) for one in family]
        assert told == [(1, first["id"], None), (2, second["id"], None)]

    diff = f"/v1/datasets/{second['id']}/diff"
    found = client.get(diff, params={"against": first["id"]}).json()
    assert found["dataset_id"] == second["id"]
    totals = {k: found[k]["total"] for k in ("added", "removed", "relabelled", "resplit")}
    assert totals == {"added": 2, "removed": 1, "relabelled": 1, "resplit": 1}
    assert found["unchanged"] == len(split) - 3
    [move] = found["relabelled"]["first"]
    assert move["before"]["sha256"] == hashlib.sha256(moved).hexdigest()
    assert (move["before"]["label"], move["after"]["label"]) == ("cat", "dog")
    assert found["removed"]["first"][0]["label"] == "dog"
    assert (found["classes_added"], found["classes_removed"]) == (["emu"], [])
    counts = {each["label"]: (each["before"], each["after"]) for each in found["classes"]}
    assert counts == {"cat": ([6, 1], [4, 2]), "dog": ([6, 1], [6, 1]), "emu": (None, [1, 1])}
    same = client.get(diff, params={"against": second["id"]}).json()
    assert same["unchanged"] == len(changed)
    assert not any(same[k]["total"] for k in totals)


def test_who_asks_for_too_many_differences_at_once_is_told_so(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = uploaded(client)
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 0.01)
    with comparing._turns, comparing._turns:
        answer = client.get(f"/v1/datasets/{made['id']}/diff", params={"against": made["id"]})
    assert problem(answer) == (503, "busy")
    assert "retry-after" in answer.headers


def test_statistics_alone_have_no_difference(client: httpx.Client, container: Container) -> None:
    made = uploaded(client)
    alone = scenes.dataset(container, "alone", statistics_only=True)
    for one, other in ((made["id"], alone.id), (alone.id, made["id"])):
        answer = client.get(f"/v1/datasets/{one}/diff", params={"against": str(other)})
        assert problem(answer) == (409, "statistics_only")


def test_damaged_originals_are_our_fault_and_nobody_s_crash(
    client: httpx.Client, container: Container
) -> None:
    made = uploaded(client)
    path = container.settings.home / "objects" / deletion.of_images(DEFAULT, made["sha256"])[0]
    for data in (b"", b"PAR1", path.read_bytes()[:-100], b"\0" * 1000):
        path.write_bytes(data)
        answer = client.get(f"/v1/datasets/{made['id']}/diff", params={"against": made["id"]})
        assert problem(answer) == (500, "corrupt_object")
    path.unlink()
    answer = client.get(f"/v1/datasets/{made['id']}/diff", params={"against": made["id"]})
    assert problem(answer) == (404, "not_found")


BAD_ORIGINS = {
    "licence": "x" * 201,
    "source": "a\nb",
    "parent_id": "me",
}


@pytest.mark.parametrize("field", BAD_ORIGINS)
def test_origins_are_checked_before_anything_is_stored(
    client: httpx.Client, container: Container, field: str
) -> None:
    answer = upload(client, ANIMALS, **{field: BAD_ORIGINS[field]})
    assert answer.status_code == 422
    assert list(container.store.listing("")) == []


def test_a_parent_must_be_there(client: httpx.Client, container: Container) -> None:
    assert problem(upload(client, ANIMALS, parent_id=str(uuid4()))) == (404, "not_found")
    gone = scenes.dataset(container, "gone")
    assert client.delete(f"/v1/datasets/{gone.id}").status_code == 204
    assert problem(upload(client, ANIMALS, parent_id=str(gone.id))) == (410, "dataset_deleted")
    assert list(container.store.listing("")) == []


def left(container: Container, sha256: str) -> list[str]:
    """Whatever has the checksum in its name, in the store or anywhere under the home."""
    stored = [each.key for each in container.store.listing("")]
    beside = [str(path) for path in container.settings.home.rglob("*")]
    return [name for name in (*stored, *beside) if sha256 in name]


def test_nothing_is_left_of_a_deleted_dataset(client: httpx.Client, container: Container) -> None:
    made = uploaded(client)
    at = f"/v1/datasets/{made['id']}"
    assert client.get(f"{at}/examples/0.png").status_code == 200
    assert len(left(container, made["sha256"])) >= 4  # two objects, their folder, a cache
    assert problem(client.delete(at)) == (409, "dataset_in_use")
    assert client.get(at).status_code == 200
    idle(container)
    answer = client.delete(at)
    assert (answer.status_code, answer.content) == (204, b"")
    assert left(container, made["sha256"]) == []
    addresses = ["", "/report", "/examples/0.png", "/images/0.png", "/export", "/versions"]
    addresses += ["/neighbours", "/map", f"/diff?against={made['id']}"]
    for address in addresses:
        answer = client.get(f"{at}{address}")
        assert problem(answer) == (410, "dataset_deleted"), address
    for verb, body in (("DELETE", None), ("POST", ":rank"), ("POST", ":embed")):
        answer = client.request(verb, f"{at}{body or ''}", json={} if body else None)
        assert problem(answer) == (410, "dataset_deleted")
    started = client.post("/v1/searches", json={"dataset_id": made["id"]})
    assert problem(started) == (410, "dataset_deleted")
    assert client.get("/v1/datasets").json()["items"] == []

    again = uploaded(client)
    assert (again["id"], again["classes"]) == (made["id"], made["classes"])
    assert client.get(f"{at}/examples/0.png").status_code == 200
    assert client.get(f"{at}/export").status_code == 200


@pytest.mark.parametrize("wrong", ["x", "0", "../x", "%00", str(UUID(int=0xABC)), "null", "é"])
@pytest.mark.parametrize("verb", ["delete", "versions", "diff", "against"])
def test_ids_of_every_kind(
    client: httpx.Client, container: Container, wrong: str, verb: str
) -> None:
    there = scenes.dataset(container)
    asked = {
        "delete": ("DELETE", f"/v1/datasets/{wrong}"),
        "versions": ("GET", f"/v1/datasets/{wrong}/versions"),
        "diff": ("GET", f"/v1/datasets/{wrong}/diff?against={there.id}"),
        "against": ("GET", f"/v1/datasets/{there.id}/diff?against={wrong}"),
    }
    answer = client.request(*asked[verb])
    assert answer.status_code in {404, 405, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.get(f"/v1/datasets/{there.id}").status_code == 200


def test_foreign_pages_delete_nothing(client: httpx.Client, container: Container) -> None:
    made = scenes.dataset(container)
    headers = {"Sec-Fetch-Site": "cross-site"}
    for verb, address in (
        ("DELETE", f"/v1/datasets/{made.id}"),
        ("POST", f"/datasets/{made.id}/delete"),
    ):
        answer = client.request(verb, address, headers=headers)
        assert problem(answer) == (403, "cross_site")
    assert client.get(f"/v1/datasets/{made.id}").status_code == 200


def test_a_silent_store_loses_nothing_but_time(
    client: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = uploaded(client)
    idle(container)

    def silent(*_: object) -> Iterator[None]:
        raise Unavailable("The store does not answer.")

    with monkeypatch.context() as broken:
        broken.setattr(LocalStore, "delete", silent)
        assert client.delete(f"/v1/datasets/{made['id']}").status_code == 202
    assert client.get(f"/v1/datasets/{made['id']}").status_code == 410
    assert left(container, made["sha256"])
    found: list[Finding] = []
    collect(container.sessions, container.store, tell=found.append, dry_run=True)
    expected = {*deletion.of_images(DEFAULT, made["sha256"])}
    assert {each.key for each in found if each.kind is Kind.DELETED} == expected
    assert left(container, made["sha256"])
    collect(container.sessions, container.store, tell=found.append)
    assert len([each for each in found if each.kind is Kind.DELETED]) == 4
    assert left(container, made["sha256"]) == []


def test_a_deletion_in_the_middle_of_an_upload_is_told(
    client: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = uploaded(client)
    idle(container)
    dataset_id = DatasetId(UUID(made["id"]))
    real = ingest_dataset.ingest

    def and_then_deleted(*args: Any, **named: Any) -> Prepared:
        """The objects were found in place, and go before the row is written."""
        prepared = real(*args, **named)
        assert deletion.take_away(container.sessions, container.store, dataset_id)
        return prepared

    with container.sessions.begin() as session:
        datasets.delete(session, dataset_id)
    with monkeypatch.context() as patched:
        patched.setattr(ingest_dataset, "ingest", and_then_deleted)
        answer = upload(client, ANIMALS)
    assert problem(answer) == (409, "deleted_meanwhile")
    assert "retry-after" in answer.headers
    assert client.get(f"/v1/datasets/{made['id']}").status_code == 410
    assert uploaded(client)["id"] == made["id"]
    assert client.get(f"/v1/datasets/{made['id']}/export").status_code == 200
    # And the other way round: once it is back, whoever comes to take its objects away is too late.
    assert deletion.take_away(container.sessions, container.store, dataset_id) == ()
    assert client.get(f"/v1/datasets/{made['id']}/export").status_code == 200


def test_an_intake_job_whose_objects_go_meanwhile_begins_anew(
    client: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = uploaded(client)
    idle(container)
    wanted = deletion.of_images(DEFAULT, made["sha256"])
    with container.sessions.begin() as session:
        datasets.delete(session, UUID(made["id"]))
    later = {"Prefer": "respond-async", "Content-Type": "application/zip"}
    body = zipped(ANIMALS)
    answer = client.post("/v1/datasets?name=x&licence=MIT", content=body, headers=later)
    assert answer.status_code == 202
    job_id, real = UUID(answer.json()["id"]), work.record

    def and_then_deleted(*args: Any) -> object:
        container.store.delete(wanted)
        return real(*args)

    supervisor = Supervisor(container.sessions, container.settings, "here")
    with monkeypatch.context() as patched:
        patched.setattr(work, "record", and_then_deleted)
        supervisor.run_next(QueueName.CPU)
    with container.sessions.read() as session:
        job, past = jobs.get(session, job_id), jobs.events(session, job_id)
    assert (job.state, past[-1].reason) == (JobState.QUEUED, "deleted_meanwhile")
    assert client.get(f"/v1/datasets/{made['id']}").status_code == 410
    supervisor.run_next(QueueName.CPU)
    with container.sessions.read() as session:
        assert jobs.get(session, job_id).state is JobState.SUCCEEDED
    assert all(map(container.store.exists, wanted))
    assert client.get(f"/v1/datasets/{made['id']}").json()["licence"] == "MIT"


def test_models_and_rankings_outlive_what_they_were_made_of(
    client: httpx.Client, browser: httpx.Client, container: Container
) -> None:
    target, source, other = (scenes.dataset(container, name) for name in ("target", "flora", "o"))
    ranking = scenes.evidence(container, target, [source, other])
    search, model = scenes.finished(container, target, ranking=ranking)
    supernet = scenes.supernet(container, source)
    assert client.delete(f"/v1/datasets/{source.id}").status_code == 204
    near = client.get(f"/v1/datasets/{target.id}/neighbours").json()["neighbours"]
    gone, here = near
    assert (gone["dataset_name"], gone["deleted"], here["deleted"]) == ("flora", True, False)
    assert (gone["pairs"], gone["coupling"], gone["coupling_entries"]) == ([], [], 0)
    assert here["coupling"]
    one = client.get(f"/v1/datasets/{target.id}/neighbours/{source.id}").json()
    assert one["deleted"]
    assert one["coupling"]["source_classes"] == []
    drawn = client.get(f"/v1/datasets/{target.id}/map").json()["points"]
    assert [each["deleted"] for each in drawn] == [False, True, False]
    kept = client.get(f"/v1/searches/{search.id}").json()["ranking"]["neighbours"]
    assert [each["deleted"] for each in kept] == [True, False]
    listed = client.get("/v1/searches").json()["items"][0]["ranking"]["neighbours"]
    assert [each["deleted"] for each in listed] == [True, False]
    for address in ("", f"?source={source.id}", f"?source={other.id}"):
        page = browser.get(f"/datasets/{target.id}{address}")
        assert page.status_code == 200
        assert "deleted" in page.text
        assert f"/v1/datasets/{source.id}" not in page.text
        assert f'href="/datasets/{source.id}"' not in page.text
    assert "deleted" in browser.get(f"/models/{model.id}").text
    assert browser.get("/").status_code == 200
    names = [each["name"] for each in client.get("/v1/supernets").json()["items"]]
    assert names == [supernet.name]
    # Its supernet is a start as one from a file is; its trunk has nothing to normalise by.
    body = {"dataset_id": str(target.id), "policy": "supernet", "supernet_id": str(supernet.id)}
    assert client.post("/v1/searches", json=body).status_code == 202
    refused = client.post(
        f"/v1/datasets/{target.id}:rank", json={"embedder": f"trunk@{supernet.id}"}
    )
    assert problem(refused) == (422, "source_deleted")
    assert refused.json()["errors"][0]["place"] == "embedder"
    listed = client.get("/v1/embedders").json()["items"]
    assert all(each["name"] != "trunk" for each in listed)
    assert client.delete(f"/v1/datasets/{target.id}").status_code == 409
    idle(container)
    assert client.delete(f"/v1/datasets/{target.id}").status_code == 204
    assert browser.get(f"/models/{model.id}").status_code == 200
    assert client.get(f"/v1/models/{model.id}").status_code == 200
