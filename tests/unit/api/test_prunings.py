"""Prunings over HTTP and by command: asked for, refused, shown and downloaded."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.pruning_bodies import PruningBody
from core.bootstrap import Container
from core.domain.prunings import PruneSpec
from core.services import prunings, wire
from tests.unit.api import scenes
from tests.unit.api.conftest import Served, said

Run = Callable[..., str]
NOBODY = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def body(container: Container) -> dict[str, Any]:
    return {"dataset_id": str(scenes.dataset(container).id), "architecture": "resnet18"}


def test_a_pruning_from_its_request_to_its_files(
    client: httpx.Client, container: Container, body: dict[str, Any], tmp_path: Path
) -> None:
    key = {"Idempotency-Key": "once"}
    asked = client.post("/v1/prunings", json={**body, "share": 0.25}, headers=key)
    assert asked.status_code == 202, asked.text
    made = asked.json()
    assert asked.headers["Location"] == f"/v1/jobs/{made['job']['id']}"
    assert (made["job"]["kind"], made["mask"], made["artifacts"]) == ("prune", None, [])
    assert (made["spec"]["share"], made["spec"]["resolution"]) == (0.25, 32)
    again = client.post("/v1/prunings", json={**body, "share": 0.25}, headers=key)
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (made["id"], "true")
    over = client.post("/v1/prunings", json={**body, "mask_from": made["id"]})
    assert (over.status_code, over.json()["code"]) == (409, "not_finished")
    scenes.prune(container)
    found = client.get(f"/v1/prunings/{made['id']}").json()
    assert found["mask"] == {"body.conv1": [1, 0]}
    assert client.get("/v1/prunings").json()["items"] == [found]
    assert client.get("/v1/prunings", params={"dataset_id": NOBODY}).json()["items"] == []
    file = client.get(found["artifacts"][0]["href"])
    assert file.json() == found["mask"]
    assert "mask.json" in file.headers["Content-Disposition"]
    over = client.post("/v1/prunings", json={**body, "mask_from": made["id"], "inherit": True})
    assert (over.status_code, over.json()["spec"]["share"]) == (202, 0.25)
    with container.sessions.read() as session:
        spec = prunings.get(session, UUID(over.json()["id"])).spec
        carried = prunings.inputs(session, wire.load(PruneSpec, spec)).carried
    assert carried is not None
    assert carried.name == "model.safetensors"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"architecture": "resnet19"}, 422, "validation_error"),
        ({"share": 1}, 422, "validation_error"),
        ({"gamma": 0}, 422, "validation_error"),
        ({"gamma": 0.5, "share": 0.5}, 422, "invalid_input"),
        ({"gamma": 0.5, "mask": "nearest"}, 422, "invalid_input"),
        ({"inherit": True}, 422, "invalid_input"),
        ({"mask_from": NOBODY, "source_id": NOBODY}, 422, "invalid_input"),
        ({"mask": "nearest", "source_id": NOBODY}, 422, "invalid_input"),
        ({"mask": "nearest", "mask_from": NOBODY}, 422, "invalid_input"),
        ({"masks_from": [NOBODY]}, 422, "invalid_input"),
        ({"resample_steps": -1}, 422, "validation_error"),
        ({"mask": "nearest"}, 422, "invalid_input"),
        ({"mask": "combine", "masks_from": [NOBODY]}, 404, "not_found"),
        ({"resolution": 16}, 422, "validation_error"),
        ({"dataset_id": NOBODY}, 404, "not_found"),
        ({"source_id": NOBODY}, 404, "not_found"),
        ({"mask_from": NOBODY}, 404, "not_found"),
        ({"weights": NOBODY}, 404, "not_found"),
    ],
)
def test_what_cannot_be_pruned_is_refused(
    client: httpx.Client, body: dict[str, Any], change: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/v1/prunings", json={**body, **change})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.get("/v1/prunings").json()["items"] == []


def test_a_dataset_without_images_says_nothing_of_channels(
    client: httpx.Client, container: Container, body: dict[str, Any]
) -> None:
    bare = scenes.dataset(container, "bare", statistics_only=True)
    for place in ("dataset_id", "source_id"):
        answer = client.post("/v1/prunings", json={**body, place: str(bare.id)})
        assert (answer.status_code, answer.json()["code"]) == (409, "statistics_only")


@pytest.fixture
def run(
    client: httpx.Client,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    assert client.base_url
    monkeypatch.setenv("HEADSTART_URL", served.url)
    return lambda *words: said(monkeypatch, capsys, *words)


def test_the_commands(run: Run, container: Container, tmp_path: Path) -> None:
    scenes.dataset(container), scenes.dataset(container, "letters")
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"state")
    words = "--architecture resnet18 --share 0.25 --source letters --controls --inherit"
    terms = f"{words} --label team=forms --weights {weights}".split()
    made = json.loads(run("prune", "animals", *terms, "--json")[2:])
    spec = made["spec"]
    assert (spec["share"], spec["controls"], spec["inherit"]) == (0.25, True, True)
    assert spec["labels"] == {"team": "forms"}
    assert spec["weights"] is not None
    assert "not succeeded" in run("prunings", made["id"])
    scenes.prune(container)
    shown = run("prunings", made["id"], "--download", str(tmp_path / "got"))
    assert "random" in shown
    assert "80.0 %" in shown
    assert (tmp_path / "got" / "mask.json").exists()
    assert "25.0 %" in run("prunings")
    terms = f"--architecture resnet18 --mask combine --masks-from {made['id']} --noise".split()
    second = json.loads(run("prune", "letters", *terms, "--resample-steps", "5", "--json")[2:])
    assert second["spec"]["masks_from"] == [made["id"]]
    assert (second["spec"]["noise"], second["spec"]["resample_steps"]) == (True, 5)
    scenes.prune(container, **scenes.TAKEN)
    priced = json.loads(
        run("prune", "letters", "--architecture", "resnet18", "--gamma", "0.5", "--json")[2:]
    )
    assert (priced["spec"]["gamma"], priced["spec"]["share"]) == (0.5, None)
    assert "mask learned on tickets, distance 7.125" in run("prunings", second["id"])
    asked = run("prune", "animals", "--architecture", "resnet34", "--mask-from", made["id"])
    assert "name that architecture" in asked
    both = ["--architecture", "resnet18", "--gamma", "0.5", "--share", "0.5"]
    assert "gamma: Give a share or a price, not both" in run("prune", "animals", *both)
    for option in ("--gamma", "--share", "--learning-rate"):
        refused = run("prune", "animals", "--architecture", "resnet18", option, "nan")
        assert "no number that can be asked for" in refused


def test_the_pages(client: httpx.Client, container: Container, tmp_path: Path) -> None:
    """From the form to the result, and on to the mask for another dataset."""
    target, other = scenes.dataset(container), scenes.dataset(container, "letters")
    assert "None yet" in client.get("/prunings").text
    assert "Shrink a known network" in client.get(f"/datasets/{target.id}").text
    form = {"architecture": "resnet18", "share": "0.25", "controls": "true", "epochs": ""}
    learned = {"learned": f"source:{other.id}"}
    answer = client.post(f"/datasets/{target.id}/prune", data=form | learned)
    assert answer.status_code == 303
    watched = client.get(answer.headers["Location"])
    assert "Pruning of a known network" in watched.text
    made = client.get("/v1/prunings").json()["items"][0]
    assert (made["spec"]["controls"], made["spec"]["share"]) == (True, 0.25)
    assert made["spec"]["source_id"] == str(other.id)
    assert client.get(f"/prunings/{made['id']}").headers["Location"] == f"/jobs/{made['job_id']}"
    scenes.prune(container)
    shown = client.get(f"/prunings/{made['id']}").text
    for words in (
        "90.0 %",
        "by chance",
        "conv1",
        "mask.json",
        "--mask-from",
        "letters",
        "if removed now",
    ):
        assert words in shown
    assert f"/prunings/{made['id']}" in client.get(f"/jobs/{made['job_id']}").text
    assert f"/prunings/{made['id']}" in client.get("/prunings").text
    assert f"mask:{made['id']}" in client.get(f"/datasets/{other.id}").text
    taken = {"architecture": "resnet18", "learned": f"mask:{made['id']}"}
    assert client.post(f"/datasets/{other.id}/prune", data=taken).status_code == 303
    second = scenes.prune(container, **scenes.TAKEN)
    shown = client.get(f"/prunings/{second.id}").text
    assert "mask learned on tickets" in shown
    assert "7.125" in shown
    front = client.get("/prunings", params={"dataset_id": str(other.id)}).text
    assert "<title>Test accuracy by what is left</title>" in front
    assert str(second.id) in front
    assert made["id"] not in front
    assert "<svg" not in client.get("/prunings", params={"dataset_id": str(target.id)}).text
    nearest = {"architecture": "resnet18", "learned": "by:nearest"}
    refused = client.post(f"/datasets/{other.id}/prune", data=nearest)
    assert refused.status_code == 422
    assert "has learned its mask" in refused.text
    wrong = client.post(f"/datasets/{other.id}/prune", data=form | {"share": "2"})
    assert wrong.status_code == 422


def test_all_that_the_interface_takes_has_a_field(
    client: httpx.Client, container: Container
) -> None:
    """But for uploads and several masks, which commands bring, and one field for what a mask is
    learned on."""
    page = client.get(f"/datasets/{scenes.dataset(container).id}").text
    form = page.split('id="prune"')[1].split("</form>")[0]
    named = set(PruningBody.model_fields) - {
        "dataset_id", "weights", "masks_from", "source_id", "mask_from", "mask", "labels",
        "weight_decay", "priority",
    }  # fmt: skip
    assert set(re.findall(r' name="([^"]+)"', form)) == named | {"learned"}


def test_the_form_takes_a_price(client: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    form = {"architecture": "resnet18", "share": "", "gamma": "0.5"}
    assert client.post(f"/datasets/{target.id}/prune", data=form).status_code == 303
    made = scenes.prune(container, kept=0.375)
    shown = client.get(f"/prunings/{made.id}").text
    assert "at 0.5 nats for the whole" in shown
    assert "37.5 %" in shown
