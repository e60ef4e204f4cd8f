"""Finished models over HTTP: the Open Inference Protocol, and images for people."""

import io
import json
import os
import signal
import socket
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from starlette.datastructures import Headers

from api import tensors as reading
from api.codes import CODES
from api.security import announced
from core.bootstrap import Container
from core.config import InferenceSettings
from core.data import images as decoding
from core.data import packing
from core.domain.identity import ProjectId
from core.errors import InvalidInput
from core.inference import batching
from core.inference.batching import Inference
from core.inference.process import ModelProcess
from core.services import datasets
from tests.fixtures.onnx_models import Floats, answered, images, index, same, tiny
from tests.fixtures.projects import of_project
from tests.unit.api import scenes
from tests.unit.api.conftest import Say, Served

MODEL = tiny()
CLASSES = ["ant", "bee", "cat", "dog"]
FILES = {"model.onnx": MODEL, "config.json": json.dumps({"classes": CLASSES}).encode()}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def shared() -> Iterator[Inference]:
    with closing(Inference(InferenceSettings(rows=32))) as made:
        yield made


@pytest.fixture(autouse=True)
def inference(served: Served, shared: Inference) -> Inference:
    served.app.state.inference = shared
    return shared


@pytest.fixture
def model(container: Container) -> UUID:
    return scenes.finished(container, scenes.dataset(container), files=FILES)[1].id


@pytest.fixture
def infer(model: UUID) -> str:
    return f"/v2/models/{model}/infer"


def body(batch: Floats, **more: Any) -> Json:
    tensor = {"name": "images", "shape": batch.shape, "datatype": "FP32"}
    return {"inputs": [tensor | {"data": batch.ravel().tolist()}], **more}


def tensors(answer: httpx.Response) -> dict[str, Floats]:
    assert answer.status_code == 200, answer.text
    return {
        each["name"]: np.array(each["data"], np.float32).reshape(each["shape"])
        for each in answer.json()["outputs"]
    }


def test_the_server_says_what_it_is(client: httpx.Client) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_a_model_says_what_it_takes(client: httpx.Client, model: UUID) -> None:
    assert client.get(f"/v2/models/{model}").json() == {
        "name": str(model),
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 8, 8]}],
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [-1, 4]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 4]},
        ],
    }
    ready = client.get(f"/v2/models/{model}/ready").json()
    assert ready == {"name": str(model), "ready": True}


def test_answers_are_the_exported_model_s_to_the_bit(client: httpx.Client, infer: str) -> None:
    batch = images(3)
    logits, probabilities = answered(MODEL, batch)
    answer = client.post(infer, json=body(batch, id="42"))
    found = tensors(answer)
    assert same(found["logits"], logits)
    assert same(found["probabilities"], probabilities)
    assert answer.json()["id"] == "42"
    nested = body(batch, outputs=[{"name": "probabilities"}])
    nested["inputs"][0]["data"] = batch.tolist()
    answer = client.post(infer, json=nested)
    assert list(found := tensors(answer)) == ["probabilities"]
    assert same(found["probabilities"], probabilities)
    assert "id" not in answer.json()


def test_many_at_once_are_answered_each_its_own(client: httpx.Client, infer: str) -> None:
    batch = images(40)
    expected, _ = answered(MODEL, batch)

    def ask(at: int) -> Floats:
        return tensors(client.post(infer, json=body(batch[at : at + 1])))["logits"]

    with ThreadPoolExecutor(16) as threads:
        found = np.concatenate(list(threads.map(ask, range(len(batch)))))
    assert same(found, expected)


def binary(batch: Floats, **more: Any) -> tuple[bytes, dict[str, str]]:
    data = batch.astype("<f4").tobytes()
    asked = body(batch, **more)
    asked["inputs"][0]["parameters"] = {"binary_data_size": len(data)}
    del asked["inputs"][0]["data"]
    text = json.dumps(asked).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return text + data, headers | {"Content-Type": "application/octet-stream"}


def test_tensors_as_bytes(client: httpx.Client, infer: str) -> None:
    batch = images(5)
    logits, probabilities = answered(MODEL, batch)
    content, headers = binary(batch, parameters={"binary_data_output": True})
    answer = client.post(infer, content=content, headers=headers)
    size = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    told = json.loads(answer.content[:size])["outputs"]
    assert [each["parameters"]["binary_data_size"] for each in told] == [80, 80]
    assert answer.content[size:] == logits.tobytes() + probabilities.tobytes()

    chosen = [{"name": "logits", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    content, headers = binary(batch, outputs=chosen, parameters={"binary_data_output": True})
    answer = client.post(infer, content=content, headers=headers)
    size = int(answer.headers["inference-header-content-length"])
    told = json.loads(answer.content[:size])["outputs"]
    assert np.array(told[0]["data"], np.float32).tobytes() == logits.tobytes()
    assert answer.content[size:] == probabilities.tobytes()


GOOD = body(images(1))


def with_input(**changed: Any) -> Json:
    return {"inputs": [GOOD["inputs"][0] | changed]}


REFUSED: dict[str, tuple[Json, str]] = {
    "another name": (with_input(name="x"), "inputs.0.name"),
    "another shape": (with_input(shape=[1, 3, 8, 9]), "inputs.0.shape"),
    "no shape": (with_input(shape=[]), "inputs.0.shape"),
    "no rows": (with_input(shape=[0, 3, 8, 8], data=[]), "inputs.0.shape.0"),
    "too many rows": (body(images(33)), "inputs.0.shape.0"),
    "another type": (with_input(datatype="UINT8"), "inputs.0.datatype"),
    "too few numbers": (with_input(data=[0.5]), "inputs.0.data"),
    "no data": (with_input(data=None), "inputs.0.data"),
    "ragged": (with_input(data=[[1.0], [1.0, 2.0]]), "inputs.0.data"),
    "words": (with_input(data=["0.5"] * 192), "inputs.0.data"),
    "nothing": (with_input(data=[None] * 192), "inputs.0.data"),
    "yes and no": (with_input(data=[True] + [0.5] * 191), "inputs.0.data"),
    "too large numbers": (with_input(data=[1e39] * 192), "inputs.0.data"),
    "larger numbers": (with_input(data=[10**400] * 192), "inputs.0.data"),
    "an unknown output": (GOOD | {"outputs": [{"name": "x"}]}, "outputs"),
    "an unknown field": (GOOD | {"model": "x"}, "model"),
    "two inputs": ({"inputs": GOOD["inputs"] * 2}, "inputs"),
}


OF_THE_FORM = {"inputs.0.datatype", "inputs", "model"}


def test_a_long_text_among_numbers_takes_no_room_for_each() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="not a number"):
            reading._of_numbers(["x" * 10_000, *[0] * 2_000])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_model_cannot_take_is_refused_with_its_place(
    client: httpx.Client, infer: str, case: str
) -> None:
    sent, place = REFUSED[case]
    answer = client.post(infer, json=sent)
    problem = answer.json()
    code = "validation_error" if place in OF_THE_FORM else "invalid_input"
    assert (answer.status_code, problem["code"]) == (422, code), problem
    assert problem["errors"][0]["place"] == place
    assert problem["error"] == problem["detail"]  # as the protocol calls it


def test_bytes_beside_data_are_refused(client: httpx.Client, infer: str) -> None:
    content, headers = binary(images(1))
    text = json.dumps(GOOD).encode()
    headers["Inference-Header-Content-Length"] = str(len(text))
    answer = client.post(infer, content=text + content[-4:], headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["errors"][0]["place"] == "inputs.0.data"


@pytest.mark.parametrize("length", [None, "-1", "x", "0", "99999999", "2"])
def test_a_wrong_length_of_the_json_is_refused(
    client: httpx.Client, infer: str, length: str | None
) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    if length is not None:
        headers["Inference-Header-Content-Length"] = length
    answer = client.post(infer, content=b"[]" + json.dumps(GOOD).encode(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


@pytest.mark.parametrize("text", [b"", b"{", b'{"inputs": NaN', b"\xff", b"[" * 10_000])
def test_what_is_no_json_is_refused(client: httpx.Client, infer: str, text: bytes) -> None:
    answer = client.post(infer, content=text, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json"), answer.text


def test_numbers_that_are_none_are_refused_and_never_sent(
    client: httpx.Client, infer: str
) -> None:
    batch = images(1)
    text = json.dumps(body(np.full_like(batch, np.nan)))
    headers = {"Content-Type": "application/json"}
    assert client.post(infer, content=text, headers=headers).status_code == 422
    content, headers = binary(np.full_like(batch, np.inf))
    assert client.post(infer, content=content, headers=headers).status_code == 422
    found = client.post(infer, json=body(np.full_like(batch, 3e38)))
    assert None in found.json()["outputs"][0]["data"]


def test_who_is_refused_before_the_model_is_asked(
    client: httpx.Client, infer: str, container: Container
) -> None:
    for path in (f"/v2/models/{uuid4()}/infer", "/v2/models/nothing/infer", "/v2/models"):
        answer = client.post(path, json=GOOD, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.json()["error"]) == (404, answer.json()["detail"])
    answer = client.post(infer, content=b"x", headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    large = client.post(infer, content=b" " * (16 * 1024**2 + 1))
    assert (large.status_code, large.json()["code"]) == (413, "too_large")
    bare = scenes.finished(container, scenes.dataset(container, "bare"), files={})[1].id
    assert client.get(f"/v2/models/{bare}").status_code == 404


def test_bodies_have_room_together(client: httpx.Client, infer: str, served: Served) -> None:
    with closing(Inference(InferenceSettings(bodies_bytes=10))) as small:
        served.app.state.inference = small
        assert client.post(infer, json=GOOD).status_code == 200
        with small.admitted(10):
            answer = client.post(infer, json=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/v2/models/{}/infer", "/v1/models/{}:predict"])
def test_a_body_that_never_comes_gives_its_room_back(
    client: httpx.Client, model: UUID, served: Served, path: str
) -> None:
    url = urlsplit(served.url)
    head = f"POST {path.format(model)} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
    head += "Content-Type: application/octet-stream\r\n\r\nhalf"
    with closing(Inference(InferenceSettings(seconds=1.5, bodies_bytes=9))) as small:
        served.app.state.inference = small
        assert client.get(f"/v2/models/{model}/ready").status_code == 200
        with socket.create_connection((url.hostname, url.port), timeout=30) as caller:
            caller.sendall(head.encode())
            answer = caller.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 400 ")
        with small.admitted(9):
            assert small._bodies == 9


def test_a_length_in_other_digits_is_none() -> None:
    told = Headers(raw=[(b"content-length", "²".encode("latin-1"))])
    assert announced(told) is None
    assert announced(Headers({"content-length": "20"})) == 20
    assert announced(Headers({})) is None


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [(signal.SIGKILL, 503, "inference_lost"), (signal.SIGSTOP, 504, "inference_timeout")],
)
def test_a_process_that_does_not_answer_is_replaced(
    client: httpx.Client,
    infer: str,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    code: str,
) -> None:
    run = ModelProcess.run

    def broken(self: ModelProcess, model: str, batch: Floats) -> tuple[Floats, ...]:
        os.kill(self.pid, number)
        return run(self, model, batch)

    with closing(Inference(InferenceSettings(seconds=1.5))) as made:
        served.app.state.inference = made
        with monkeypatch.context() as patched:
            patched.setattr(ModelProcess, "run", broken)
            answer = client.post(infer, json=GOOD)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert client.post(infer, json=GOOD).status_code == 200


def test_without_the_runtime_it_says_what_to_install(
    client: httpx.Client, infer: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "find_spec", lambda _: None)
    served.app.state.inference = Inference(InferenceSettings())
    for answer in (client.post(infer, json=GOOD), client.get("/v2/health/ready")):
        assert (answer.status_code, answer.json()["code"]) == (501, "inference_unavailable")
        assert "headstart-nas[inference]" in answer.json()["error"]


def test_a_damaged_file_is_not_computed_with(client: httpx.Client, container: Container) -> None:
    files = {"model.onnx": tiny(7)}
    model = scenes.finished(container, scenes.dataset(container), files=files)[1].id
    (stored,) = (Path(container.settings.home) / "objects").rglob("model.onnx")
    stored.chmod(0o600)
    stored.write_bytes(tiny(8))
    answer = client.get(f"/v2/models/{model}")
    assert (answer.status_code, answer.json()["code"]) == (500, "corrupt_object")


def encoded(kind: str, size: tuple[int, int] = (20, 13)) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def as_intake_sees_it(data: bytes) -> Floats:
    decoded = decoding.decode(data, max_pixels=10**6, resolution=8)
    row = packing.channels_first(decoding.fit(decoded.pixels, 8), 3)
    return row[None].astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_is_seen_as_its_dataset_s_were(
    client: httpx.Client, model: UUID, kind: str
) -> None:
    data = encoded(kind)
    headers = {"Content-Type": f"image/{kind.lower()}"}
    answer = client.post(f"/v1/models/{model}:predict?top=3", content=data, headers=headers)
    assert answer.status_code == 200, answer.text
    expected = answered(MODEL, as_intake_sees_it(data))[1][0]
    order = np.argsort(-expected)[:3]
    assert answer.json() == {
        "model_id": str(model),
        "classes": [{"name": CLASSES[at], "probability": float(expected[at])} for at in order],
        "neighbours": [],
    }


def test_the_training_images_that_are_most_alike(
    client: httpx.Client, container: Container, model: UUID
) -> None:
    target, data = scenes.dataset(container), encoded("PNG")
    files = FILES | {"alike.onnx": index([7, 30, 2], [1, 3, 0])}
    made = scenes.finished(container, target, files=files)[1].id
    path = f"/v1/models/{made}:predict?neighbours="
    headers = {"Content-Type": "image/png"}
    found = client.post(f"{path}2", content=data, headers=headers).json()["neighbours"]
    session = onnxruntime.InferenceSession(files["alike.onnx"])
    similarities, places, labels = session.run(None, {"images": as_intake_sees_it(data)})
    assert found == [
        {
            "name": CLASSES[int(labels[0, at])],
            "similarity": pytest.approx(float(similarities[0, at])),
            "href": f"/v1/datasets/{target.id}/images/{places[0, at]:.0f}.png",
        }
        for at in range(2)
    ]
    assert client.post(f"{path}0", content=data, headers=headers).json()["neighbours"] == []
    assert client.post(f"{path}21", content=data, headers=headers).status_code == 422
    old = client.post(f"/v1/models/{model}:predict?neighbours=5", content=data, headers=headers)
    assert (old.status_code, old.json()["neighbours"]) == (200, [])
    with container.sessions.begin() as session:
        datasets.delete(session, target.id)
    gone = client.post(f"{path}2", content=data, headers=headers)
    assert (gone.status_code, gone.json()["neighbours"]) == (200, [])


def test_a_share_that_is_no_number_is_null(client: httpx.Client, container: Container) -> None:
    network = onnx.load_from_string(MODEL)
    (dense,) = (each for each in network.graph.initializer if each.name == "dense")
    lost = onnx.numpy_helper.from_array(np.full(dense.dims, np.nan, np.float32), "dense")
    dense.CopyFrom(lost)
    files = FILES | {"model.onnx": network.SerializeToString()}
    model = scenes.finished(container, scenes.dataset(container), files=files)[1].id
    headers = {"Content-Type": "image/png"}
    answer = client.post(f"/v1/models/{model}:predict", content=encoded("PNG"), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["classes"] == [{"name": each, "probability": None} for each in CLASSES]


@pytest.mark.parametrize(
    ("content", "media", "code"),
    [
        (b"GIF89a, or so it says", "image/gif", "bad_image"),
        (b"", "image/png", "empty_body"),
        (encoded("PNG"), "application/json", "unsupported_media_type"),
    ],
)
def test_what_is_no_image_is_refused(
    client: httpx.Client, model: UUID, content: bytes, media: str, code: str
) -> None:
    headers = {"Content-Type": media}
    answer = client.post(f"/v1/models/{model}:predict", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (CODES[code].status, code)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_tiff_is_seen_where_the_operator_allows_it(
    client: httpx.Client,
    served: Served,
    container: Container,
    model: UUID,
    monkeypatch: pytest.MonkeyPatch,
    allowed: bool,
) -> None:
    uploads = container.settings.uploads.model_copy(update={"tiff": allowed})
    settings = container.settings.model_copy(update={"uploads": uploads})
    monkeypatch.setattr(served.app.state, "container", replace(container, settings=settings))
    headers = {"Content-Type": "image/tiff"}
    path, data = f"/v1/models/{model}:predict?top=4", encoded("TIFF")
    answer = client.post(path, content=data, headers=headers)
    if not allowed:
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_image")
        return
    shown = client.post(path, content=encoded("PNG"), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200, answer.text
    assert answer.json() == shown.json()


def test_images_at_the_command_line(say: Say, model: UUID, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encoded("PNG"))
    bad.write_bytes(b"not an image")
    told = say("predict", str(model), str(bad), str(good), "--top", "2")
    assert told.startswith("1\n")
    assert "(bad_image)" in told
    assert str(good) in told
    assert sum(name in told for name in CLASSES) == 2
    status, _, printed = say("predict", str(model), str(good), "--json").partition("\n")
    assert status == "0"
    assert len(json.loads(printed)[str(good)]["classes"]) == 3
    unknown = say("predict", str(uuid4()), str(good))
    assert unknown.startswith("1\n")
    assert "(not_found)" in unknown


def test_another_project_s_model_is_none(client: httpx.Client, container: Container) -> None:
    elsewhere = of_project(container, ProjectId(uuid4()))
    model = scenes.finished(elsewhere, scenes.dataset(elsewhere), files=FILES)[1].id
    answers = [
        client.get(f"/v2/models/{model}"),
        client.get(f"/v2/models/{model}/ready"),
        client.post(f"/v2/models/{model}/infer", json=GOOD),
        client.post(
            f"/v1/models/{model}:predict",
            content=encoded("PNG"),
            headers={"Content-Type": "image/png"},
        ),
    ]
    assert [each.json()["code"] for each in answers] == ["not_found"] * 4
