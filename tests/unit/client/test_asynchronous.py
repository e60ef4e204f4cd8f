"""The asynchronous half, of which the blocking one is made: the same calls, awaited."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import headstart
from headstart import folders
from headstart._async import running
from tests.unit.client.script import URL, Script, frame, ok, problem
from tests.unit.client.test_files import ARTIFACTS, DATA, Tus

DONE = {"id": "j", "state": "succeeded", "poll_after_ms": None}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(running, "sleep", sleep)


def called(
    server: Callable[[httpx.Request], httpx.Response],
    work: Callable[[headstart.AsyncClient], Awaitable[Any]],
) -> Any:
    async def inside() -> Any:
        transport = httpx.MockTransport(server)
        async with headstart.AsyncClient(URL, "hs_canary", transport=transport) as client:
            return await work(client)

    return asyncio.run(inside())


def test_requests_are_made_again_under_their_key() -> None:
    script = Script(httpx.ReadError("cut"), problem(503, "x"), ok({"id": "s", "job": DONE}))
    dataset = "0199c2a4-5d1e-7c3f-9a41-2f6d0b8c7e15"
    search = called(script, lambda client: client.searches.create(dataset))
    assert isinstance(search, headstart.AsyncSearch)
    assert len(set(script.sent("idempotency-key"))) == 1
    assert len(script.heard) == 3


def test_a_list_is_read_page_by_page() -> None:
    async def read(client: headstart.AsyncClient) -> list[Any]:
        return [each async for each in client.jobs.list()]

    pages = [{"items": [n], "next_page_token": "t" if n == 1 else None} for n in (1, 2)]
    assert called(Script(*map(ok, pages)), read) == [1, 2]


def test_a_job_is_followed_to_its_end() -> None:
    async def read(client: headstart.AsyncClient) -> list[str]:
        await client.jobs.wait("j")
        return [each.event async for each in client.jobs.stream("j")]

    headers = {"Content-Type": "text/event-stream"}
    frames = [frame("job", {}, "1-a"), frame("end", {}, "2-b")]
    first, last = (httpx.Response(200, content=each, headers=headers) for each in frames)
    script = Script(ok(DONE), first, last)
    assert called(script, read) == ["job", "end"]
    assert script.sent("last-event-id") == [None, None, "1-a"]


def test_files_go_up_and_come_down(tmp_path: Path) -> None:
    (tmp_path / "digits.zip").write_bytes(DATA)
    server = Tus(problem(423, "upload_busy"), 100)
    assert called(server, lambda client: client.uploads.send(tmp_path / "digits.zip")) == "u"
    assert server.data == DATA
    model = ok({"id": "m", "artifacts": ARTIFACTS[:1]})
    script = Script(model, httpx.ReadError("cut"), httpx.Response(200, content=DATA))
    (made,) = called(script, lambda client: client.models.download("m", tmp_path))
    assert made.read_bytes() == DATA


def test_a_folder_is_packed_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packers, pack = list[int](), folders.packed

    def packed(folder: Path, archive: Path) -> Path:
        packers.append(threading.get_ident())
        return pack(folder, archive)

    monkeypatch.setattr(folders, "packed", packed)
    (tmp_path / "cats").mkdir()
    with pytest.raises(headstart.NotFound):  # by the request for the job
        called(Tus(), lambda client: client.datasets.send(tmp_path / "cats"))
    assert len(packers) == 1
    assert threading.get_ident() not in packers


def test_an_upload_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "digits.zip").write_bytes(DATA)
    server = Tus()

    async def cancelled(client: headstart.AsyncClient) -> None:
        def stop(_done: int, _total: int) -> None:
            task.cancel()

        task = asyncio.ensure_future(client.uploads.send(tmp_path / "digits.zip", progress=stop))
        with pytest.raises(asyncio.CancelledError):
            await task

    called(server, cancelled)
    assert server.log[-1] == "DELETE"
