"""Intake as a job, through the API: asked for in three ways, once for each key, uploads kept."""

import hashlib
from typing import Any
from uuid import uuid4

import httpx
import pytest

from core.bootstrap import Container
from core.domain import keys
from core.domain.datasets import IntakeOptions
from core.domain.identity import DEFAULT
from core.domain.jobs import JobKind, JobRecord, JobState, QueueName
from core.domain.searches import IngestSpec
from core.domain.work import IngestInputs, IngestOutcome
from core.errors import Unavailable
from core.services import jobs, uploads, wire, work
from tests.unit.api import archives
from tests.unit.api.conftest import Bell
from tests.unit.api.test_tus import TUS, send
from tests.unit.services.test_datasets import TERMS

ZIP = {"Content-Type": "application/zip"}
LATER = {"Prefer": "wait=5, respond-async"}


def sent(client: httpx.Client, data: bytes | None = None) -> str:
    data = data or archives.zipped(archives.class_folders())
    headers = {**TUS, "Upload-Length": str(len(data))}
    address = client.post("/v1/uploads", headers=headers).headers["location"]
    assert send(client, address, 0, data).status_code == 204
    return address.rsplit("/", 1)[1]


def ask(client: httpx.Client, *ids: str, **more: Any) -> httpx.Response:
    return client.post("/v1/datasets:ingest", json={"uploads": ids, "name": "Tiere", **more})


def done(container: Container, job_id: str, name: str = "a") -> dict[str, Any]:
    """Finish the job, as its worker would."""
    with container.sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=60)
        assert job is not None
        assert str(job.id) == job_id
        assert isinstance(work.inputs(session, job), IngestInputs)
        terms = {key: value for key, value in TERMS.items() if key != "name"}
        made = IngestOutcome(
            **{**terms, "sha256": hashlib.sha256(name.encode()).hexdigest()},
            originals_sha256="0" * 64,
            size_bytes=7,
        )
        return dict(work.record(session, job, made))


def test_uploads_become_a_dataset_in_a_job(
    client: httpx.Client, container: Container, bell: Bell
) -> None:
    upload_id = sent(client)
    answer = ask(client, upload_id, seed=7, licence="CC0", source="a camera")
    job = answer.json()
    assert (answer.status_code, job["kind"], job["queue"]) == (202, "ingest", "cpu")
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert [str(each) for each, _ in bell.rung] == [job["id"]]
    assert client.delete(f"/v1/uploads/{upload_id}", headers=TUS).status_code == 423
    result = done(container, job["id"])
    made = client.get(f"/v1/datasets/{result['dataset_id']}").json()
    assert (made["name"], result["created"]) == ("Tiere", True)
    embed = client.get(f"/v1/jobs/{result['embed_job_id']}").json()
    assert (embed["kind"], embed["state"]) == ("embed", "queued")
    assert client.get(f"/v1/uploads/{upload_id}").status_code == 404
    spec = wire.load(IngestSpec, job["spec"])
    assert (spec.options.seed, spec.licence, spec.source) == (7, "CC0", "a camera")


def test_another_job_may_read_the_same_uploads(client: httpx.Client, container: Container) -> None:
    """They stay until the last of these jobs has."""
    upload_id = sent(client)
    first, second = (ask(client, upload_id, seed=seed).json()["id"] for seed in (1, 2))
    done(container, first)
    assert client.get(f"/v1/uploads/{upload_id}").json()["state"] == "used"
    result = done(container, second)
    assert result["created"] is False
    assert client.get(f"/v1/uploads/{upload_id}").status_code == 404


def test_uploads_are_held_in_one_order_however_they_are_named(
    client: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two transactions that each held what the other wants next would wait for ever."""
    seen: list[str] = []
    for name in ("use", "drop"):
        real = getattr(uploads, name)

        def noted(session: Any, upload_id: Any, real: Any = real, **more: Any) -> Any:
            seen.append(str(upload_id))
            return real(session, upload_id, **more)

        monkeypatch.setattr(uploads, name, noted)
    ids = [sent(client) for _ in range(3)]
    done(container, ask(client, *sorted(ids, reverse=True)).json()["id"])
    assert seen == sorted(ids) * 2


def test_a_request_made_again_is_the_same_job(client: httpx.Client) -> None:
    upload_id = sent(client)
    body = {"uploads": [upload_id], "name": "x"}
    key = {"Idempotency-Key": str(uuid4())}
    first, second = (client.post("/v1/datasets:ingest", json=body, headers=key) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    other = client.post("/v1/datasets:ingest", json={**body, "seed": 1}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_body_may_be_read_later(client: httpx.Client, container: Container, method: str) -> None:
    data = archives.zipped(archives.class_folders())
    digest = hashlib.sha256(data).hexdigest()
    url = "/v1/datasets?name=Tiere&seed=3"
    answer = client.request(method, url, content=data, headers={**ZIP, **LATER})
    assert (answer.status_code, answer.json()["kind"]) == (202, "ingest")
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    spec = wire.load(IngestSpec, answer.json()["spec"])
    assert (spec.name, spec.options.seed) == ("Tiere", 3)
    with container.sessions.read() as session:
        upload, parts = uploads.contents(session, spec.uploads[0])
    assert (upload.received, upload.sha256, len(parts)) == (len(data), digest, 1)
    with container.store.open(parts[0].key) as file:
        assert file.read() == data


@pytest.mark.parametrize("name", ["put", "append", "release"])
def test_nothing_stays_of_a_body_that_could_not_be_kept(
    client: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Not even its share of the quota: nobody knows of this upload."""

    def fails(*_: object, **__: object) -> None:
        raise Unavailable("It does not answer.")

    owner = type(container.store) if name == "put" else uploads
    monkeypatch.setattr(owner, name, fails)
    data = archives.zipped(archives.class_folders())
    answer = client.post("/v1/datasets?name=x", content=data, headers={**ZIP, **LATER})
    assert answer.status_code == 503
    with container.sessions.read() as session:
        assert uploads.used_bytes(session) == 0
    assert list(container.store.listing("uploads")) == []


def test_nothing_is_put_on_the_disk_before_it_is_its_turn(
    client: httpx.Client, container: Container
) -> None:
    upload_id = sent(client)
    with container.intakes, container.intakes:
        answer = client.post(f"/v1/datasets?name=x&upload={upload_id}")
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        scratch = container.settings.home / "scratch"
        assert [path for path in scratch.rglob("*") if path.is_file()] == []
    assert client.post(f"/v1/datasets?name=x&upload={upload_id}").status_code == 201


def test_a_body_that_no_job_can_take_leaves_no_upload(
    client: httpx.Client, container: Container
) -> None:
    data = archives.zipped(archives.class_folders())
    url = f"/v1/datasets?name=x&parent_id={uuid4()}"
    assert client.post(url, content=data, headers={**ZIP, **LATER}).status_code == 404
    assert list(container.store.listing(keys.uploads(DEFAULT))) == []
    with container.sessions.read() as session:
        assert uploads.used_bytes(session) == 0


def test_uploads_may_be_read_later_too(client: httpx.Client) -> None:
    upload_id = sent(client)
    answer = client.post(f"/v1/datasets?name=x&upload={upload_id}", headers=LATER)
    assert (answer.status_code, answer.json()["spec"]["uploads"]) == (202, [upload_id])


def test_put_is_post_for_tools_that_send_files_so(client: httpx.Client) -> None:
    data = archives.zipped(archives.class_folders())
    answers = [client.put("/v1/datasets?name=x", content=data, headers=ZIP) for _ in range(2)]
    assert [each.status_code for each in answers] == [201, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"uploads": []}, 422, "validation_error"),
        ({"uploads": [str(uuid4())]}, 404, "not_found"),
        ({"uploads": ["../../etc/passwd"]}, 422, "validation_error"),
        ({"uploads": [str(uuid4())] * 2}, 422, "invalid_input"),
        ({"uploads": [str(uuid4()) for _ in range(17)]}, 422, "validation_error"),
        ({"parent_id": str(uuid4())}, 404, "not_found"),
        ({"seed": -1}, 422, "bad_options"),
        ({"test_share": 1.0}, 422, "bad_options"),
        ({"group": "prefix:"}, 422, "bad_options"),
        ({"group": "\0"}, 422, "bad_options"),  # no database keeps it
        ({"label": "a\0b"}, 422, "bad_options"),
        ({"label": "x" * 1_001}, 422, "bad_options"),
        ({"licence": "a\nb"}, 422, "invalid_input"),
        ({"licence": "x" * 201}, 422, "invalid_input"),
        ({"name": "\u202e"}, 422, "validation_error"),
        ({"surprise": 1}, 422, "validation_error"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    client: httpx.Client, bell: Bell, more: dict[str, Any], status: int, code: str
) -> None:
    answer = ask(client, sent(client), **more)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert bell.rung == []


def test_an_upload_that_is_not_whole_is_refused(client: httpx.Client) -> None:
    headers = {**TUS, "Upload-Length": "10"}
    address = client.post("/v1/uploads", headers=headers).headers["location"]
    answer = ask(client, address.rsplit("/", 1)[1])
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_incomplete")


def test_a_cancelled_job_leaves_its_uploads(client: httpx.Client) -> None:
    upload_id = sent(client)
    job_id = ask(client, upload_id).json()["id"]
    assert client.post(f"/v1/jobs/{job_id}:cancel").json()["state"] == JobState.CANCELLED
    assert ask(client, upload_id).status_code == 202
    assert JobKind.INGEST in client.get("/v1/jobs?kind=ingest").json()["items"][0]["kind"]


def refused(container: Container, job_id: str, *findings: tuple[str, str, str]) -> None:
    """Fail the job, as its worker would."""
    told = [{"place": place, "code": code, "message": words} for place, code, words in findings]
    with container.sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=60)
        assert job is not None
        assert str(job.id) == job_id
        record = JobRecord("refusal", 0, {"findings": told})
        jobs.add_records(session, job.id, job.fence, [record])
        jobs.fail(session, job.id, job.fence, "bad_image", "2 images cannot be read.")


def test_a_refusal_is_a_list_with_what_to_do(
    client: httpx.Client, browser: httpx.Client, container: Container
) -> None:
    job_id = ask(client, sent(client), seed=3).json()["id"]
    found = ("cat/<b>.png", "bad_image", "It is cut short."), ("cat/2.png", "bad_image", "Empty.")
    refused(container, job_id, *found)
    items = client.get(f"/v1/jobs/{job_id}/records?stage=refusal").json()["items"]
    assert [each["place"] for each in items[0]["values"]["findings"]] == [
        "cat/<b>.png",
        "cat/2.png",
    ]
    page = browser.get(f"/jobs/{job_id}").text
    for words in ("of Tiere,", "2 images cannot be read.", "cat/&lt;b&gt;.png", "Empty.",
                  "Open the file in a viewer", "Try again", 'value="3"'):  # fmt: skip
        assert words in page, words


def test_what_was_refused_may_be_tried_with_other_options(
    client: httpx.Client, browser: httpx.Client, container: Container
) -> None:
    upload_id = sent(client)
    asked = ask(client, upload_id, seed=3, licence="CC0").json()
    refused(container, asked["id"])
    form = {"unreadable_share": "0.5", "seed": "4", "group": "", "label": "", "test_share": "0.3"}
    answer = browser.post(f"/jobs/{asked['id']}/again", data=form)
    assert answer.status_code == 303
    again = client.get(f"/v1{answer.headers['location']}").json()
    spec = wire.load(IngestSpec, again["spec"])
    options = IntakeOptions(seed=4, test_share=0.3, unreadable_share=0.5)
    assert (spec.name, spec.licence, spec.options) == ("Tiere", "CC0", options)
    bad = browser.post(f"/jobs/{asked['id']}/again", data={"seed": "much"})
    assert (bad.status_code, "seed" in bad.text) == (422, True)
    done(container, again["id"])
    page = browser.get(f"/jobs/{asked['id']}").text
    assert "Try again" not in page  # the uploads have become a dataset
    gone = browser.post(f"/jobs/{asked['id']}/again", data=form)
    assert gone.status_code == 404


def test_who_watches_an_intake_is_led_to_its_dataset(
    client: httpx.Client, browser: httpx.Client, container: Container
) -> None:
    job_id = ask(client, sent(client)).json()["id"]
    waiting = browser.get(f"/jobs/{job_id}/live")
    assert (waiting.status_code, "hx-redirect" in waiting.headers) == (200, False)
    made = done(container, job_id)["dataset_id"]
    assert browser.get(f"/jobs/{job_id}/live").headers["hx-redirect"] == f"/datasets/{made}/report"
    assert f'href="/datasets/{made}/report">See Tiere' in browser.get(f"/jobs/{job_id}").text
    for page in ("/jobs", "/"):
        assert "Intake" in browser.get(page).text
    embed_id = client.get(f"/v1/jobs/{job_id}").json()["result"]["embed_job_id"]
    client.post(f"/v1/jobs/{embed_id}:cancel")
    assert client.delete(f"/v1/datasets/{made}").status_code == 204
    assert "hx-redirect" not in browser.get(f"/jobs/{job_id}/live").headers
