"""The report as a page: images side by side, and a next version without some of them."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from core.bootstrap import Container
from core.domain.datasets import IntakeOptions, Problem
from core.domain.jobs import JobId, JobKind, QueueName
from core.domain.searches import IngestSpec
from core.execution import caches
from core.execution.supervisor import Supervisor
from core.services import jobs, wire, work
from tests.unit.api import scenes
from tests.unit.api.archives import zipped
from tests.unit.api.conftest import Bell, Say
from tests.unit.data.builders import encode
from tests.unit.data.test_findings import photograph, saved_again

ZIP = {"Content-Type": "application/zip"}


def drawn(seed: int) -> bytes:
    return encode(photograph(seed, 48))


def clean() -> dict[str, bytes]:
    found = {f"train/{name}/{n}.png": drawn(100 * c + n) for c, name in enumerate("ab")
             for n in range(8)}  # fmt: skip
    return found | {f"test/{name}/t.png": drawn(90 + n) for n, name in enumerate("ab")}


def messy() -> dict[str, bytes]:
    """One of everything: twins across classes and splits, copies, a label in doubt."""
    return clean() | {
        "test/a/near.jpg": saved_again(photograph(5, 48), 48, 90),
        "test/a/copy.png": drawn(4),
        "train/b/wrong.jpg": saved_again(photograph(7, 48), 48, 90),
        "train/a/twice.png": drawn(1),
        "train/a/both.png": drawn(95),
        "train/b/both.png": drawn(95),
    }


@pytest.fixture
def made(client: httpx.Client) -> dict[str, Any]:
    query = {"name": "messy", "licence": "CC0", "unreadable_share": "0.5"}
    body = zipped(messy() | {"train/a/torn.png": b"\x89PNG\r\n\x1a\nnothing"})
    answer = client.post("/v1/datasets", params=query, content=body, headers=ZIP, timeout=60)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def supervisor(container: Container) -> Iterator[Supervisor]:
    found = Supervisor(container.sessions, container.settings, "here")
    yield found
    found.drain()


def asked(container: Container, location: str) -> IngestSpec:
    with container.sessions.read() as session:
        job = jobs.get(session, JobId(UUID(location.rsplit("/", 1)[1])))
    assert job.kind is JobKind.INGEST
    spec: IngestSpec = wire.load(IngestSpec, job.spec)
    return spec


def test_what_was_found_and_a_version_without_it(
    browser: httpx.Client, container: Container, supervisor: Supervisor, made: dict[str, Any]
) -> None:
    page = browser.get(f"/datasets/{made['id']}/report").text
    headings = ["Alike in different classes", "Alike in train and test", "The same picture twice"]
    places = [page.index(each) for each in (*headings, "And besides", "Images per class")]
    assert places == sorted(places)
    across, splits, twice, besides = (page[start:end] for start, end in pairwise(places))
    for name in ("train/a/7.png", "train/b/wrong.jpg", "a is right", "b is right"):
        assert name in across
    assert across.count("<img") == splits.count("<img") == twice.count("<img") == 2
    assert "images/1.png?split=test" in splits or "images/0.png?split=test" in splits
    for name in ("train/a/twice.png", "train/a/1.png"):
        assert name in twice
    for name in ("train/a/torn.png", "test/a/copy.png", "train/a/4.png", "train/b/both.png"):
        assert name in besides
    assert besides.count("<img") == 1  # of the leaked one what was kept
    assert f'href="/datasets/{made["id"]}#search">Accept' in page
    for address in {part.split('"')[0] for part in page.split('src="')[1:]}:
        assert browser.get(address).status_code == 200, address

    # The pair across classes: the image of the other class goes, and with it its class's mistake.
    (choice,) = (
        part.split('"')[0] for part in across.split('value="')[1:] if "a is right" in part
    )
    action = f"/datasets/{made['id']}/leave-out"
    nothing = browser.post(action, data={"pair-0": ""})
    assert nothing.status_code == 422
    assert "nothing was ticked" in nothing.text
    for wrong in ("train:99999", "valid:1", "train:-1", "x"):
        assert browser.post(action, data={"pair-0": wrong}).status_code in {404, 422}
    sent = browser.post(action, data={"pair-0": choice, "pair-1": ""})
    assert sent.status_code == 303
    spec = asked(container, sent.headers["location"])
    assert (spec.parent_id, spec.uploads, spec.licence) == (UUID(made["id"]), (), "CC0")

    assert supervisor.run_next(QueueName.CPU)  # embeds the first
    assert supervisor.run_next(QueueName.CPU)
    _is_the_next_version(browser, container, sent.headers["location"], made)


def _is_the_next_version(
    browser: httpx.Client, container: Container, location: str, made: dict[str, Any]
) -> None:
    with container.sessions.read() as session:
        job = jobs.get(session, JobId(UUID(location.rsplit("/", 1)[1])))
    assert job.result is not None, job.error_message
    after = browser.get(f"/v1/datasets/{job.result['dataset_id']}").json()
    assert (after["version"], after["parent_id"], after["name"]) == (2, made["id"], "messy")
    path = f"/v1/datasets/{after['id']}/diff?against={made['id']}"
    changed = browser.get(path).json()
    assert [each["path"] for each in changed["removed"]["first"]] == ["train/b/wrong.jpg"]
    assert changed["unchanged"] == after["n_train"] + after["n_test"]
    totals = [changed[kind]["total"] for kind in ("added", "relabelled", "resplit")]
    assert totals == [0, 0, 0]
    codes = {each["code"]: each["place"] for each in after["report"]["problems"]}
    assert codes["chosen_out"] == "train/b/wrong.jpg"
    assert "near_conflict" not in codes
    before = browser.get(f"/v1/datasets/{made['id']}").json()
    assert before == {key: made[key] for key in before}


def test_what_was_looked_up_is_kept_and_goes_with_the_dataset(
    browser: httpx.Client, container: Container, made: dict[str, Any]
) -> None:
    address = f"/datasets/{made['id']}/report"
    first = browser.get(address).text
    (kept,) = container.settings.home.rglob("places-*.json")
    container.store.delete([each.key for each in container.store.listing("")])
    assert browser.get(address).text == first  # nothing is read of the images
    assert kept.exists()
    caches.forget(container.settings.home, made["sha256"])
    assert not list(container.settings.home.rglob("places-*.json"))
    bare = browser.get(address).text
    assert "train/b/wrong.jpg" in bare
    assert "?split=" not in bare
    assert "Make a version without them" not in bare
    # The store may find again what it does not find now.
    assert not list(container.settings.home.rglob("places-*.json"))


def test_versions_are_asked_for_by_programs_too(
    client: httpx.Client, container: Container, bell: Bell
) -> None:
    target = scenes.dataset(container)
    address = f"/v1/datasets/{target.id}:leave-out"
    images = [{"split": "train", "index": 29}, {"split": "test", "index": 0}]
    key = {"Idempotency-Key": str(uuid4())}
    first, again = (
        client.post(address, json={"images": images, "name": "less"}, headers=key)
        for _ in range(2)
    )
    assert first.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    spec = asked(container, first.headers["location"])
    assert (spec.name, spec.parent_id) == ("less", target.id)
    assert spec.options == IntakeOptions(leave_out=(29, 30))
    assert len(bell.rung) == 1
    with container.sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=60)
        assert job is not None
        found = work.inputs(session, job)
    assert getattr(found, "parent", None) == target.__class__(
        **{name: getattr(target, name) for name in target.__slots__} | {"report": None}
    )
    for body, status in (
        ({"images": []}, 422),
        ({"images": [{"split": "valid", "index": 0}]}, 422),
        ({"images": [{"split": "train", "index": 30}]}, 404),
        ({}, 422),
    ):
        assert client.post(address, json=body).status_code == status
    kept = scenes.dataset(container, "kept at home", statistics_only=True)
    refused = client.post(f"/v1/datasets/{kept.id}:leave-out", json={"images": images})
    assert refused.json()["code"] == "statistics_only"


def test_an_intake_leads_to_what_needs_a_look(browser: httpx.Client) -> None:
    told = {"name": "first", "licence": "CC0-1.0", "source": "", "seed": "7", "test_share": ""}
    files = {"archive": ("a.zip", zipped(clean()))}
    sent = browser.post("/datasets", data=told, files=files)
    assert sent.status_code == 303, sent.text
    address = sent.headers["location"]
    first = browser.get(f"/v1{address}").json()
    assert (first["licence"], first["report"]["options"]["seed"]) == ("CC0-1.0", 7)
    form = browser.get("/", params={"version_of": first["id"]}).text
    assert f'<input type="hidden" name="parent_id" value="{first["id"]}">' in form
    assert 'value="CC0-1.0"' in form
    assert f'href="/?version_of={first["id"]}"' in browser.get(address).text
    assert browser.get("/", params={"version_of": str(uuid4())}).status_code == 404
    refused = browser.post("/datasets", data={**told, "test_share": "many"}, files=files)
    assert refused.status_code == 422

    told = {"name": "second", "parent_id": first["id"]}
    sent = browser.post("/datasets", data=told, files={"archive": ("a.zip", zipped(messy()))})
    assert sent.headers["location"].endswith("/report")
    later = browser.get(f"/v1{sent.headers['location'].removesuffix('/report')}").json()
    assert (later["version"], later["parent_id"]) == (2, first["id"])


@pytest.mark.parametrize("pages", [1, 3])
def test_many_pairs_are_turned_over_page_by_page(
    browser: httpx.Client, container: Container, pages: int
) -> None:
    found = tuple(
        Problem("warning", "near_duplicate", f"b{n}.png", "Alike.", (f"a{n}.png",))
        for n in range(40 * pages)
    )
    target = scenes.dataset(container, problems=found)
    page = browser.get(f"/datasets/{target.id}/report?page={pages}").text
    assert page.count("<fieldset") == 40
    assert (f"Page {pages} of {pages}" in page) == (pages > 1)
    assert f"b{40 * pages - 1}.png" in page


def test_a_report_of_nothing_asks_for_nothing(browser: httpx.Client, container: Container) -> None:
    harmless = (Problem("warning", "image_metadata", "", "Images with metadata: 3."),)
    target = scenes.dataset(container, problems=harmless)
    page = browser.get(f"/datasets/{target.id}/report").text
    assert "Nothing here asks for anything." in page
    assert "Accept" not in page
    assert "<form action" not in page


def test_the_command_that_leaves_images_out(container: Container, say: Say) -> None:
    target = scenes.dataset(container)
    printed = say("datasets", "leave-out", "animals", "train:3", "test:0", "--name", "less")
    assert printed.startswith("0\n"), printed
    with container.sessions.read() as session:
        (job, *_), _ = jobs.listing(session, limit=5, kind=JobKind.INGEST)
    assert str(job.id) in printed
    spec: IngestSpec = wire.load(IngestSpec, job.spec)
    assert (spec.parent_id, spec.name, spec.options.leave_out) == (target.id, "less", (3, 30))
    assert say("datasets", "leave-out", "animals", "train3").startswith("2\n")
