"""Forms: the pages work without scripts, and a form can be as wrong as a body."""

import httpx
import pytest

from core.bootstrap import Container
from core.domain.jobs import JobKind
from core.domain.searches import StartPolicy
from core.services import datasets, jobs
from tests.unit.api import archives, scenes
from tests.unit.api.conftest import ARCHIVE_BYTES, Bell

BOUNDARY = "----boundary7"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def test_the_upload_form_streams_an_archive_in(browser: httpx.Client, bell: Bell) -> None:
    archive = archives.zipped(archives.class_folders())
    body = archives.multipart({"name": "Animals"}, {"archive": archive}, BOUNDARY)
    answer = browser.post("/datasets", content=body, headers=FORM)
    assert answer.status_code == 303, answer.text
    page = browser.get(answer.headers["location"])
    assert page.status_code == 200
    assert "Animals" in page.text
    assert len(bell.rung) == 1


GOOD = archives.multipart({"name": "x"}, {"archive": b"PK"}, BOUNDARY)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (archives.multipart({"name": "x"}, {}, BOUNDARY), 422, "empty_body"),
        (archives.multipart({"name": ""}, {"archive": b"PK"}, BOUNDARY), 422, "validation_error"),
        (archives.multipart({}, {"archive": b"PK"}, BOUNDARY), 422, "validation_error"),
        (archives.multipart({"name": "x" * 5_000}, {}, BOUNDARY), 400, "malformed_multipart"),
        (
            archives.multipart({f"f{i}": "x" for i in range(10_000)}, {}, BOUNDARY)[:190_000],
            400,
            "malformed_multipart",
        ),
        (b"junk" * 1_000 + GOOD, 400, "malformed_multipart"),
        (GOOD[:-10], 400, "incomplete_body"),
        (GOOD + b"more" * 500_000, 400, "malformed_multipart"),
        (
            archives.multipart({"name": "x"}, {"archive": b"0" * (ARCHIVE_BYTES + 1)}, BOUNDARY),
            413,
            "archive_too_large",
        ),
        (GOOD, 422, None),
    ],
    ids=[
        "no file",
        "no name",
        "no field",
        "long",
        "many",
        "junk",
        "cut",
        "endless",
        "large",
        "not archive",
    ],
)
def test_a_bad_form_is_explained_on_a_page(
    browser: httpx.Client, container: Container, body: bytes, status: int, code: str | None
) -> None:
    answer = browser.post("/datasets", content=body, headers=FORM)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>" in answer.text
    assert code is None or code in answer.text
    assert not [
        path for path in (container.settings.home / "scratch").rglob("*") if path.is_file()
    ]
    with container.sessions.read() as session:
        assert datasets.listing(session, limit=1)[0] == ()


@pytest.mark.parametrize("name", ["../../x.zip", "/etc/passwd", "x" * 10_000, "a\\b.zip"])
def test_a_files_name_is_nobodys_business(
    browser: httpx.Client, container: Container, name: str
) -> None:
    archive = archives.zipped(archives.class_folders())
    body = archives.multipart({"name": "Animals"}, {"archive": archive}, BOUNDARY)
    assert body.count(b'filename="') == 1
    start = body.index(b'filename="') + len(b'filename="')
    renamed = body[:start] + name.encode() + body[body.index(b'"', start) :]
    assert browser.post("/datasets", content=renamed, headers=FORM).status_code == 303
    assert not [path for path in container.settings.home.rglob("*") if path.name in name]


def test_a_form_without_a_boundary(browser: httpx.Client) -> None:
    for boundary in ("", "; boundary=", "; boundary=" + "x" * 5_000):
        headers = {"Content-Type": "multipart/form-data" + boundary}
        answer = browser.post("/datasets", content=GOOD, headers=headers)
        assert answer.status_code == 400
        assert "malformed_multipart" in answer.text


def test_a_small_form_of_another_type_starts_nothing(
    browser: httpx.Client, container: Container, bell: Bell
) -> None:
    target = scenes.dataset(container)
    answer = browser.post(f"/datasets/{target.id}/search", json={"epochs": 3})
    assert answer.status_code == 415
    assert bell.rung == []


def test_the_search_form_starts_a_search(
    browser: httpx.Client, container: Container, bell: Bell
) -> None:
    target = scenes.dataset(container)
    sent = {
        "policy": "cold",
        "epochs": "3",
        "seed": "7",
        "learning_rates": "0.1, 0.05",
        "retrain_epochs": "",
        "patience": "0",
        "head": "random",
        "channels": "4",
        "method": "drnas",
        "selection": "magnitude",
        "objectives": ["flops", "latency"],
        "trade_offs": "refined",
        "cells": "s3",
        "contribute": "true",
    }
    page = browser.get(f"/datasets/{target.id}").text
    for name in ("method", "selection", "objectives", "trade_offs", "cells", "contribute"):
        assert f'name="{name}"' in page
    answer = browser.post(f"/datasets/{target.id}/search", data=sent)
    assert answer.status_code == 303
    with container.sessions.read() as session:
        (job,) = jobs.listing(session, limit=5)[0]
    assert answer.headers["location"] == f"/jobs/{job.id}"
    assert job.kind is JobKind.SEARCH
    assert job.spec["policy"] == StartPolicy.COLD
    assert job.spec["training"]["epochs"] == 3
    assert job.spec["training"]["seed"] == 7
    assert (job.spec["patience"], job.spec["retrain_epochs"]) == (0, 20)
    assert list(job.spec["learning_rates"]) == [0.1, 0.05]
    assert (job.spec["space"]["channels"], job.spec["space"]["cells"]) == (4, "s3")
    assert (job.spec["training"]["method"], job.spec["selection"]) == ("drnas", "magnitude")
    assert list(job.spec["objectives"]) == ["flops", "latency"]
    assert job.spec["trade_offs"] == "refined"
    assert job.spec["contribute"] is True
    assert [job_id for job_id, _ in bell.rung] == [job.id]


def test_a_form_left_empty_races_for_the_start(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    assert '<option value="race" selected>' in browser.get(f"/datasets/{target.id}").text
    browser.post(f"/datasets/{target.id}/search", data={"policy": "", "learning_rates": ""})
    with container.sessions.read() as session:
        (job,) = jobs.listing(session, limit=5)[0]
    assert job.spec["policy"] == StartPolicy.RACE
    assert job.spec["learning_rates"] is None
    assert job.spec["patience"] is None
    assert job.spec["contribute"] is False


def test_the_pretrain_and_rank_forms(browser: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    named = browser.post(f"/datasets/{target.id}/pretrain", data={"name": "a source"})
    ranked = browser.post(f"/datasets/{target.id}/rank")
    assert (named.status_code, ranked.status_code) == (303, 303)
    with container.sessions.read() as session:
        kinds = {job.kind for job in jobs.listing(session, limit=5)[0]}
    assert kinds == {JobKind.PRETRAIN, JobKind.RANK}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", "many"),
        ("epochs", "nan"),
        ("epochs", "1.5"),
        ("seed", "-1"),
        ("learning_rates", "0.1, inf"),
        ("learning_rates", ","),
        ("policy", "supernet:nobody"),
        ("policy", "farthest"),
        ("channels", "1e9"),
    ],
)
def test_a_bad_field_is_named_on_a_page(
    browser: httpx.Client, container: Container, bell: Bell, field: str, value: str
) -> None:
    target = scenes.dataset(container)
    answer = browser.post(f"/datasets/{target.id}/search", data={field: value})
    assert answer.status_code == 422
    named = {"policy": "supernet_id"}.get(field, field) if "supernet" in value else field
    assert named in answer.text
    assert bell.rung == []


def test_cancel_from_the_page(browser: httpx.Client, container: Container) -> None:
    job = scenes.queued(container, scenes.dataset(container))
    answer = browser.post(f"/jobs/{job.id}/cancel")
    assert answer.status_code == 303
    assert browser.post(f"/jobs/{job.id}/cancel").status_code == 303  # pressed twice
