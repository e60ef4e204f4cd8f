"""Embedders over HTTP: listed, asked for by name, and refused before anything is queued."""

from uuid import UUID, uuid4

import httpx
import pytest

from core.bootstrap import Container
from core.domain.datasets import Dataset, Embedding
from core.domain.jobs import QUEUE_OF, JobKind
from core.services import datasets, jobs
from tests.unit.api import archives, scenes
from tests.unit.api.conftest import Bell, Served, said

DEFAULT = "oriented-energy@1"


@pytest.mark.parametrize("verb", ["embed", "rank"])
def test_the_embedder_of_a_job_can_be_chosen(
    client: httpx.Client, container: Container, bell: Bell, verb: str
) -> None:
    target = scenes.dataset(container)
    supernet = scenes.supernet(container, scenes.dataset(container, "source"))
    address = f"/v1/datasets/{target.id}:{verb}"
    trunk = f"trunk@{supernet.id}"
    for body, expected in ((None, DEFAULT), ({}, DEFAULT), ({"embedder": trunk}, trunk)):
        answer = client.post(address, json=body) if body is not None else client.post(address)
        assert answer.status_code == 202, answer.text
        assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"
        with container.sessions.read() as session:
            newest = jobs.listing(session, limit=1)[0][0]
        assert (newest.kind.value, newest.spec["embedder"]) == (verb, expected)
    assert len(bell.rung) == 3
    assert client.post(f"/v1/datasets/{uuid4()}:{verb}").status_code == 404


@pytest.mark.parametrize("verb", ["embed", "rank"])
@pytest.mark.parametrize(
    ("embedder", "code"),
    [
        ("nonesuch@1", "validation_error"),
        ("oriented-energy", "validation_error"),
        ("oriented-energy@2000", "validation_error"),
        ("trunk@7", "validation_error"),
        ("../x@1", "validation_error"),
        (f"resnet18@{'1' * 70}", "validation_error"),
        ("resnet18@a/b", "invalid_input"),
        (7, "validation_error"),
        ("trunk@8c1f2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b", "unknown_embedder"),
    ],
)
def test_an_embedder_that_cannot_be_is_refused(
    client: httpx.Client, container: Container, bell: Bell, verb: str, embedder: object, code: str
) -> None:
    target = scenes.dataset(container)
    answer = client.post(f"/v1/datasets/{target.id}:{verb}", json={"embedder": embedder})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["place"] == "embedder"
    assert bell.rung == []


def test_embedders_are_listed(client: httpx.Client, container: Container) -> None:
    supernet = scenes.supernet(container, scenes.dataset(container))
    first = client.get("/v1/embedders").json()
    assert first["next_page_token"] is None
    analytic, resnet, trunk = first["items"]
    assert (analytic["identifier"], analytic["default"]) == (DEFAULT, True)
    assert (resnet["name"], resnet["identifier"], resnet["default"]) == ("resnet18", None, False)
    assert trunk["identifier"] == f"trunk@{supernet.id}"
    assert trunk["supernet_id"] == str(supernet.id)


def embed_next(container: Container, target: Dataset) -> str:
    """A worker, as far as a client can tell: the next embed job succeeds."""
    with container.sessions.begin() as session:
        queue = QUEUE_OF[JobKind.EMBED]
        job = jobs.claim(session, queue=queue, owner="test", lease_seconds=600)
        assert job is not None
        embedder = str(job.spec["embedder"])
        made = Embedding(target.id, embedder, "key", "0" * 64, 115, 30, 0.1)
        datasets.record_embedding(session, made)
        jobs.finish(session, job.id, job.fence, {"embedder": embedder})
    return embedder


def test_the_command_embeds_one_or_all(
    client: httpx.Client,
    served: Served,
    container: Container,
    bell: Bell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert client.get("/v1/datasets").status_code == 200
    monkeypatch.setenv("HEADSTART_URL", served.url)
    target = scenes.dataset(container)
    ring = bell.announce
    monkeypatch.setattr(
        bell, "announce", lambda *about: (ring(*about), embed_next(container, target))
    )
    one = said(monkeypatch, capsys, "embed", "animals", "--embedder", "resnet18@1-0123")
    assert one.split() == ["0", "animals", "resnet18@1-0123"]
    assert said(monkeypatch, capsys, "embed", "--all").split() == ["0", "animals", DEFAULT]
    refused = said(monkeypatch, capsys, "embed", "animals", "--embedder", "nonesuch@1")
    assert refused.startswith("1\n")
    assert "known are oriented-energy" in refused
    assert said(monkeypatch, capsys, "embed").startswith("2\n")
    assert said(monkeypatch, capsys, "embed", "animals", "--all").startswith("2\n")


def test_a_waiting_job_of_another_embedder_is_no_reason_not_to_embed(
    client: httpx.Client, container: Container
) -> None:
    content = archives.tarred(archives.class_folders())
    headers = {"Content-Type": "application/x-tar"}

    def upload() -> dict[str, object]:
        sent = client.post("/v1/datasets?name=a", content=content, headers=headers)
        assert sent.status_code in (200, 201), sent.text
        return dict(sent.json())

    first = upload()
    client.post(f"/v1/datasets/{first['id']}:embed", json={"embedder": "resnet18@1-0123"})
    again = upload()["embed_job"]
    assert isinstance(again, dict)
    with container.sessions.read() as session:
        assert jobs.get(session, UUID(again["id"])).spec["embedder"] == DEFAULT
