"""Files: down whole or not at all, up from where the server has them."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

import headstart
from tests.unit.client.conftest import Pauses
from tests.unit.client.script import Answer, Broken, Script, client, ok, problem, said

DATA = bytes(range(256)) * 20
SHA256 = hashlib.sha256(DATA).hexdigest()
DIGEST = f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:"
ARTIFACTS = [
    {"name": name, "sha256": SHA256, "size": len(DATA)} for name in ("model.onnx", "cells.json")
]


def model() -> httpx.Response:
    return ok({"id": "m", "artifacts": ARTIFACTS})


def whole() -> httpx.Response:
    return httpx.Response(200, content=DATA)


def exported() -> httpx.Response:
    return httpx.Response(200, content=DATA, headers={"Content-Digest": DIGEST})


def cut(at: int) -> httpx.Response:
    return httpx.Response(200, stream=Broken(DATA[:at]))


def test_a_model_is_fetched_with_all_its_files(tmp_path: Path) -> None:
    script, heard = Script(model(), whole(), whole()), list[tuple[int, int]]()
    made = client(script).models.download(
        "m", tmp_path / "new", progress=lambda done, total: heard.append((done, total))
    )
    assert [path.name for path in made] == ["model.onnx", "cells.json"]
    assert {path.read_bytes() for path in made} == {DATA}
    assert sorted((tmp_path / "new").iterdir()) == sorted(made)
    assert heard[-1] == (2 * len(DATA), 2 * len(DATA))


def test_of_a_model_only_what_it_has(tmp_path: Path) -> None:
    made = client(Script(model(), whole())).models.download(
        "m", tmp_path, artifacts=["cells.json"]
    )
    assert made == [tmp_path / "cells.json"]
    with pytest.raises(headstart.NotFound, match=r"it has: model\.onnx, cells\.json"):
        client(Script(model())).models.download("m", tmp_path, artifacts=["x"])


def test_a_download_that_broke_begins_anew(tmp_path: Path) -> None:
    script = Script(model(), cut(1000), problem(503, "unavailable"), whole())
    (made,) = client(script).models.download("m", tmp_path, artifacts=["model.onnx"])
    assert made.read_bytes() == DATA
    assert script.sent("range") == [None] * 4


class Breaking:
    """A server whose answers end where they are told to, each after eight minutes."""

    def __init__(self, pauses: Pauses, *places: int) -> None:
        self.pauses, self.places = pauses, places
        self.asked = 0

    def __call__(self, _: httpx.Request) -> httpx.Response:
        place = self.places[min(self.asked, len(self.places) - 1)]
        self.asked += 1
        self.pauses.now += 480
        return exported() if place == len(DATA) else cut(place)


def test_a_download_that_gets_further_each_time_is_had_in_the_end(
    tmp_path: Path, pauses: Pauses
) -> None:
    server = Breaking(pauses, 1000, 2000, 3000, len(DATA))
    made = client(server).supernets.export("n", tmp_path / "net")
    assert made.read_bytes() == DATA


def test_a_download_that_breaks_at_the_same_place_ends(tmp_path: Path, pauses: Pauses) -> None:
    server = Breaking(pauses, 2000, 1000, 2000)
    with pytest.raises(headstart.Unreachable):
        client(server).supernets.export("n", tmp_path / "net")
    assert server.asked == 3
    assert list(tmp_path.iterdir()) == []


def test_two_may_fetch_the_same_file_at_once(tmp_path: Path) -> None:
    target = tmp_path / "net"

    def export(between: Any) -> Path:
        return client(Script(exported())).supernets.export("n", target, progress=between)

    assert export(lambda *_: export(None)).read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [target]


def test_an_export_says_in_which_format(tmp_path: Path) -> None:
    script, dataset = Script(exported()), "0199c2a4-5d1e-7c3f-9a41-2f6d0b8c7e15"
    client(script).datasets.export(dataset, tmp_path / "all", format="parquet")
    assert dict(script.heard[0].url.params) == {"format": "parquet"}


@pytest.mark.parametrize("answer", [httpx.Response(200, content=DATA[:-1]), problem(404, "x")])
def test_what_did_not_arrive_whole_is_no_file(tmp_path: Path, answer: httpx.Response) -> None:
    (tmp_path / "model.onnx").write_bytes(b"the old one")
    with pytest.raises(headstart.Problem):
        client(Script(model(), answer)).models.download("m", tmp_path, artifacts=["model.onnx"])
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the old one"]


@pytest.mark.parametrize(
    ("digest", "fine"), [(DIGEST, True), ("sha-256=:AAAA:", False), ("", False)]
)
def test_an_export_is_checked_by_the_digest_that_is_announced(
    tmp_path: Path, digest: str, fine: bool
) -> None:
    answer = httpx.Response(200, content=DATA, headers={"Content-Digest": digest})
    target = tmp_path / "net.safetensors"
    if fine:
        assert client(Script(answer)).supernets.export("n", target) == target
    else:
        with pytest.raises(headstart.Problem, match="arrived damaged"):
            client(Script(answer)).supernets.export("n", target)
    assert target.exists() == fine


class Tus:
    """A server of uploads in pieces, which loses connections and answers as it is told to."""

    def __init__(
        self,
        *troubles: int | Exception | httpx.Response,
        beginnings: Sequence[Answer] = (),
    ) -> None:
        self.troubles = list(troubles)
        self.beginnings = list(beginnings)
        self.data = b""
        self.metadata = ""
        self.log: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.log.append(request.method)
        if request.method == "POST" and request.url.path == "/v1/uploads":
            if self.beginnings:
                return said(self.beginnings.pop(0))
            self.metadata = request.headers["upload-metadata"]
            return httpx.Response(201, headers={"Location": "/v1/uploads/u"})
        if request.method == "HEAD":
            return httpx.Response(200, headers={"Upload-Offset": str(len(self.data))})
        if request.method == "PATCH":
            assert int(request.headers["upload-offset"]) == len(self.data)
            body = request.read()
            trouble = self.troubles.pop(0) if self.troubles else len(body)
            if isinstance(trouble, httpx.Response):
                return trouble
            if isinstance(trouble, Exception):
                self.data += body[:1000]
                raise trouble
            self.data += body[:trouble]
            return httpx.Response(204, headers={"Upload-Offset": str(len(self.data))})
        return problem(404, "not_found")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "digits.zip"
    path.write_bytes(DATA)
    return path


def test_an_upload_goes_on_where_the_server_is(archive: Path) -> None:
    troubles: list[Any] = [httpx.WriteError("reset"), problem(423, "upload_busy"),
                           problem(503, "unavailable"), 100, httpx.ReadError("reset")]  # fmt: skip
    server, heard = Tus(*troubles), list[int]()
    assert client(server).uploads.send(archive, progress=lambda done, _: heard.append(done)) == "u"
    assert server.data == DATA
    assert heard[-1] == len(DATA)
    assert server.log.count("PATCH") == 6
    told = dict(each.split(" ") for each in server.metadata.split(","))
    assert {key: base64.b64decode(value).decode() for key, value in told.items()} == {
        "filename": "digits.zip",
        "sha256": SHA256,
    }


def test_an_upload_that_is_refused_is_not_tried_again(archive: Path) -> None:
    server = Tus(problem(413, "quota_exceeded"))
    with pytest.raises(headstart.Problem) as refused:
        client(server).uploads.send(archive)
    assert refused.value.code == "quota_exceeded"
    assert server.log.count("PATCH") == 1


def test_an_upload_that_gets_nowhere_ends(archive: Path, pauses: Pauses) -> None:
    server = Tus(*[problem(503, "unavailable", Retry_After="200")] * 9)
    with pytest.raises(headstart.Problem):
        client(server).uploads.send(archive)
    assert server.log.count("PATCH") == 3
    assert 400 <= pauses.now <= 600


def test_an_upload_is_begun_again(archive: Path) -> None:
    lost = [httpx.ReadError("reset"), problem(503, "unavailable", Retry_After="200")]
    server = Tus(beginnings=lost)
    assert client(server, retry_for=1.0).uploads.send(archive) == "u"
    assert server.log.count("POST") == 3
    assert server.data == DATA


def test_an_upload_that_may_not_begin_is_not_begun_again(archive: Path) -> None:
    server = Tus(beginnings=[problem(413, "quota_exceeded")])
    with pytest.raises(headstart.Problem):
        client(server).uploads.send(archive)
    assert server.log == ["POST"]


@pytest.mark.parametrize("options", [{}, {"uploads": ["mine"]}, {"name": "none"}])
def test_nothing_to_send_is_said_before_anything_is_sent(options: Any) -> None:
    server = Tus()
    with pytest.raises(headstart.Invalid) as refused:
        client(server).datasets.send([], **options)
    assert refused.value.code == "invalid_input"
    assert server.log == []


def test_of_a_refused_dataset_no_upload_stays(archive: Path) -> None:
    server = Tus()
    with pytest.raises(headstart.NotFound):  # by the request for the job
        client(server).datasets.upload([archive], name="digits", parent_id="p")
    assert server.log[-2:] == ["POST", "DELETE"]


def test_a_file_in_one_request_is_announced_with_its_digest(archive: Path) -> None:
    script, heard = Script(ok({"id": "n"})), list[int]()
    made = client(script).supernets.add(archive, progress=lambda done, _: heard.append(done))
    assert made["id"] == "n"
    assert script.sent("content-digest") == [DIGEST]
    assert script.heard[0].read() == DATA
    assert heard == [len(DATA)]
