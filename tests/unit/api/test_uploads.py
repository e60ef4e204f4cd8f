"""Uploads: every good form of archive comes in, every bad one is refused and leaves nothing."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from core.bootstrap import Container
from core.domain.identity import DEFAULT, Limits
from core.domain.jobs import JobKind
from core.pipelines import ingest_dataset
from core.services import datasets, jobs, projects, uploads
from tests.unit.api import archives
from tests.unit.api.conftest import ARCHIVE_BYTES, Bell, Served

ZIP = {"Content-Type": "application/zip"}


def leftovers(container: Container) -> list[Path]:
    return [path for path in (container.settings.home / "scratch").rglob("*") if path.is_file()]


def assert_nothing_stored(container: Container, bell: Bell) -> None:
    with container.sessions.read() as session:
        assert datasets.listing(session, limit=10)[0] == ()
        assert jobs.listing(session, limit=10)[0] == ()
    assert bell.rung == []
    assert leftovers(container) == []


def test_a_zip_becomes_a_dataset_with_an_embed_job(
    client: httpx.Client, container: Container, bell: Bell
) -> None:
    body = archives.zipped(archives.class_folders())
    answer = client.post("/v1/datasets?name=Animals", content=body, headers=ZIP)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/datasets/{made['id']}"
    assert made["name"] == "Animals"
    assert made["classes"] == ["cat", "dog"]
    assert made["n_train"] + made["n_test"] == 12
    assert made["report"]["images_kept"] == 12
    assert made["embed_job"]["kind"] == JobKind.EMBED
    assert [str(job_id) for job_id, _ in bell.rung] == [made["embed_job"]["id"]]
    assert leftovers(container) == []

    again = client.post("/v1/datasets?name=Other", content=body, headers=ZIP)
    assert again.status_code == 200
    assert again.json()["id"] == made["id"]
    assert again.json()["name"] == "Animals"
    assert again.json()["embed_job"]["id"] == made["embed_job"]["id"]

    strip = client.get(f"/v1/datasets/{made['id']}/examples/1.png")
    assert strip.status_code == 200
    assert strip.headers["content-type"] == "image/png"
    assert strip.content.startswith(b"\x89PNG")
    etag = {"If-None-Match": f"W/{strip.headers['etag']}"}
    same = client.get(f"/v1/datasets/{made['id']}/examples/1.png", headers=etag)
    assert same.status_code == 304
    missing = client.get(f"/v1/datasets/{made['id']}/examples/2.png")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_class")


def test_the_uploader_decides_on_the_split(client: httpx.Client) -> None:
    body = archives.zipped(archives.class_folders())
    terms = {"name": "half", "test_share": 0.5, "seed": 7, "unreadable_share": 0.5}
    made = client.post("/v1/datasets", params=terms, content=body, headers=ZIP).json()
    assert (made["n_train"], made["n_test"]) == (6, 6)
    assert made["report"]["split_seed"] == 7
    assert made["report"]["options"] == {
        "seed": 7, "test_share": 0.5, "group": None, "unreadable_share": 0.5, "label": None
    }  # fmt: skip
    other = client.post("/v1/datasets?name=usual", content=body, headers=ZIP).json()
    assert other["id"] != made["id"]
    assert (other["report"]["split_seed"], other["report"]["groups"]) == (0, 0)


@pytest.mark.parametrize("form", ["imagefolder", "parquet"])
@pytest.mark.parametrize("given", [False, True])
def test_what_is_taken_away_is_the_same_dataset_when_it_comes_back(
    client: httpx.Client, form: str, given: bool
) -> None:
    files = archives.class_folders()
    if given:
        files = {
            f"{'test' if '5' in name else 'train'}/{name}": data for name, data in files.items()
        }
    made = client.post("/v1/datasets?name=My+pets", content=archives.zipped(files), headers=ZIP)
    address = f"/v1/datasets/{made.json()['id']}/export?format={form}"
    got = client.get(address)
    assert got.status_code == 200
    suffix = {"imagefolder": "zip", "parquet": "parquet"}[form]
    assert got.headers["content-disposition"] == f'attachment; filename="My_pets.{suffix}"'
    digest = base64.b64encode(hashlib.sha256(got.content).digest()).decode()
    assert got.headers["content-digest"] == f"sha-256=:{digest}:"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert client.get(address, headers={"If-None-Match": got.headers["etag"]}).status_code == 304
    media = {"Content-Type": "application/octet-stream"}
    again = client.post("/v1/datasets?name=again", content=got.content, headers=media)
    assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])


def test_only_known_forms_of_datasets_with_images_are_taken_away(client: httpx.Client) -> None:
    made = client.post(
        "/v1/datasets?name=x", content=archives.zipped(archives.class_folders()), headers=ZIP
    ).json()
    assert client.get(f"/v1/datasets/{made['id']}/export?format=csv").status_code == 422
    assert client.get(f"/v1/datasets/{uuid4()}/export").status_code == 404


def test_what_would_pass_the_quota_is_refused(
    client: httpx.Client, served: Served, container: Container, bell: Bell
) -> None:
    body = archives.zipped(archives.class_folders())
    small = container.settings.uploads.model_copy(update={"stored_bytes": len(body) - 1})
    settings = container.settings.model_copy(update={"uploads": small})
    served.app.state.container = replace(container, settings=settings)
    answer = client.post("/v1/datasets?name=x", content=body, headers=ZIP)
    assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")
    assert_nothing_stored(container, bell)


def test_room_is_looked_for_again_when_it_is_taken(
    client: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = ingest_dataset.ingest

    def slowly(*given: Any, **options: Any) -> Any:
        made = ingest(*given, **options)
        with container.sessions.begin() as session:  # as if another had come first
            projects.limit(session, DEFAULT, Limits(stored_bytes=1))
        return made

    monkeypatch.setattr(ingest_dataset, "ingest", slowly)
    body = archives.zipped(archives.class_folders())
    answer = client.post("/v1/datasets?name=x", content=body, headers=ZIP)
    assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")
    assert client.get("/v1/datasets").json()["items"] == []


def test_few_archives_are_read_at_once(
    client: httpx.Client, container: Container, bell: Bell
) -> None:
    body = archives.zipped(archives.class_folders())
    with container.intakes, container.intakes:
        answer = client.post("/v1/datasets?name=x", content=body, headers=ZIP)
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert "retry-after" in answer.headers
        assert_nothing_stored(container, bell)
    assert client.post("/v1/datasets?name=x", content=body, headers=ZIP).status_code == 201
    with container.sessions.read() as session:
        assert uploads.used_bytes(session) > 1_000


def test_groups_stay_together_and_must_be_there(client: httpx.Client) -> None:
    files = {
        f"{name.rsplit('/', 1)[0]}/eye{index // 2}_{index}.png": data
        for index, (name, data) in enumerate(archives.class_folders().items())
    }
    body = archives.zipped(files)
    address = "/v1/datasets?name=eyes&group=prefix:"
    made = client.post(f"{address}_", content=body, headers=ZIP)
    assert made.status_code == 201, made.text
    assert made.json()["report"]["groups"] == len(files) // 2
    none = client.post(f"{address}%23", content=body, headers=ZIP)
    assert (none.status_code, none.json()["code"]) == (422, "no_groups")


@pytest.mark.parametrize(
    "terms",
    ["seed=-1", "seed=1.5", "test_share=0", "test_share=1", "test_share=nan", "group=prefix:",
     "group=", "unreadable_share=2", "unreadable_share=no"],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(
    client: httpx.Client, container: Container, bell: Bell, terms: str
) -> None:
    body = archives.zipped(archives.class_folders())
    answer = client.post(f"/v1/datasets?name=x&{terms}", content=body, headers=ZIP)
    assert answer.status_code == 422
    assert answer.json()["code"] in {"bad_options", "validation_error"}
    assert_nothing_stored(container, bell)


def test_a_compressed_tar_with_its_digest_comes_in(client: httpx.Client) -> None:
    body = archives.tarred(archives.class_folders())
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers = {
        "Content-Type": "application/gzip",
        "Content-Digest": f"sha-512=:AAAA:, sha-256=:{digest}:",
    }
    answer = client.post("/v1/datasets?name=animals", content=body, headers=headers)
    assert answer.status_code == 201, answer.text


BAD_ARCHIVES: dict[str, Callable[[], bytes]] = {
    "not an archive": lambda: b"hello, this is text" * 50,
    "one class": lambda: archives.zipped(archives.class_folders(("cat",))),
    "no images": lambda: archives.zipped({"cat/a.txt": b"a", "dog/b.txt": b"b"}),
    "traversal": lambda: archives.zipped({"../../cat/a.png": archives.png()}),
    "truncated": lambda: archives.zipped(archives.class_folders())[:-200],
    "truncated images": lambda: archives.zipped(
        {name: data[:60] for name, data in archives.class_folders().items()}
    ),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_a_bad_archive_is_refused_with_a_reason(
    client: httpx.Client, container: Container, bell: Bell, kind: str
) -> None:
    body = BAD_ARCHIVES[kind]()
    answer = client.post("/v1/datasets?name=x", content=body, headers=ZIP)
    assert answer.status_code in {413, 422}, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert problem["code"] not in {"", "internal", "invalid_input"}
    assert problem["detail"].endswith(".")
    assert str(container.settings.home) not in answer.text
    assert_nothing_stored(container, bell)


def endless(pieces: int) -> Iterator[bytes]:
    for _ in range(pieces):
        yield b"0" * 1_000


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_cut_off(
    client: httpx.Client, container: Container, bell: Bell, announced: bool
) -> None:
    size = ARCHIVE_BYTES + 1_000
    content: bytes | Iterator[bytes] = b"0" * size if announced else endless(size // 1_000)
    answer = client.post("/v1/datasets?name=x", content=content, headers=ZIP)
    assert (answer.status_code, answer.json()["code"]) == (413, "archive_too_large")
    assert_nothing_stored(container, bell)


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        (ZIP, b"", 422, "empty_body"),
        ({"Content-Type": "text/csv"}, b"a,b", 415, "unsupported_media_type"),
        ({}, b"a,b", 415, "unsupported_media_type"),
        (ZIP | {"Content-Digest": "sha-256=:!!:"}, b"x", 422, "invalid_digest"),
        (ZIP | {"Content-Digest": "sha-256=:AAAA:"}, b"x", 422, "invalid_digest"),
        (ZIP | {"Content-Digest": b"sha-256=:\xff\xfe:"}, b"x", 422, "invalid_digest"),
        (
            ZIP | {"Content-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"},
            b"x",
            422,
            "digest_mismatch",
        ),
    ],
)
def test_an_upload_that_is_not_what_it_says(
    client: httpx.Client,
    container: Container,
    bell: Bell,
    headers: Any,  # a header may be bytes that are not text
    body: bytes,
    status: int,
    code: str,
) -> None:
    answer = client.post("/v1/datasets?name=x", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert_nothing_stored(container, bell)


BAD_NAMES = ["a\x00b", "a\nb", "a\u2028b", "\u202eevil", "\x1b[2J", "\ufffd"]


@pytest.mark.parametrize("name", [None, "", "   ", "a" * 121, *BAD_NAMES])
def test_a_bad_name_is_refused_before_the_body(
    client: httpx.Client, container: Container, bell: Bell, name: str | None
) -> None:
    params = {} if name is None else {"name": name}
    answer = client.post("/v1/datasets", params=params, content=b"not an archive", headers=ZIP)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert answer.json()["errors"][0]["place"] == "query.name"
    assert_nothing_stored(container, bell)


def test_every_space_in_a_name_is_the_plain_one(client: httpx.Client) -> None:
    """The registry takes no other kind, and would say so only after the files are stored."""
    body = archives.zipped(archives.class_folders())
    params = {"name": "a\u00a0photo at 9.30\u202fPM"}
    answer = client.post("/v1/datasets", params=params, content=body, headers=ZIP)
    assert (answer.status_code, answer.json()["name"]) == (201, "a photo at 9.30 PM")
