"""The command line against the served application, in this process."""

import io
import json
import os
import random
import re
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from pydantic import ValidationError
from typer.main import get_command

import headstart
from api import cli, codes, service_commands, serving, terminal
from core.bootstrap import Container
from core.config import Settings
from core.domain import keys
from core.domain.identity import DEFAULT
from core.domain.searches import StartPolicy
from core.services import datasets, jobs
from tests.chaos.proxy import Way, proxied
from tests.unit.api import archives, scenes
from tests.unit.api.conftest import Served, said
from tests.unit.execution.bench import eventually


@pytest.fixture
def here(client: httpx.Client, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_URL", served.url)


@pytest.mark.usefixtures("here", "worker")
def test_upload_then_search_by_name(
    container: Container,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = tmp_path / "animals.tar.gz"
    archive.write_bytes(archives.tarred(archives.class_folders()))
    uploaded = said(monkeypatch, capsys, "upload", str(archive))
    assert uploaded.startswith("0\n")
    assert "\ndataset " in uploaded
    assert "2 classes" in uploaded
    options = "--policy cold --epochs 2 --seed 5 --learning-rate 0.1 --learning-rate 0.05"
    options += " --adapt --channels 6"
    asked = said(monkeypatch, capsys, "search", "animals", *options.split())
    assert asked.startswith("0\nsearch ")
    with container.sessions.read() as session:
        job = jobs.listing(session, limit=1)[0][0]
    assert job.spec["policy"] == StartPolicy.COLD
    assert job.spec["training"]["epochs"] == 2
    assert list(job.spec["learning_rates"]) == [0.1, 0.05]
    assert (job.spec["adapt"], job.spec["space"]["channels"]) == (True, 6)
    assert job.spec["contribute"] is False
    assert str(job.id) in said(monkeypatch, capsys, "jobs")
    cancelled = said(monkeypatch, capsys, "jobs", str(job.id), "--cancel")
    assert "cancelled" in cancelled
    said(monkeypatch, capsys, "search", "animals", "--contribute")
    with container.sessions.read() as session:
        assert jobs.listing(session, limit=1)[0][0].spec["contribute"] is True


@pytest.mark.usefixtures("here")
def test_pretrain_on_one_on_several_on_all(
    container: Container, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ants", "bees", "crabs"):
        scenes.dataset(container, name)

    def asked(*arguments: str) -> list[tuple[str, str]]:
        with container.sessions.read() as session:
            before = {each.id for each in jobs.listing(session, limit=100)[0]}
        assert said(monkeypatch, capsys, "pretrain", *arguments).startswith("0\njob ")
        with container.sessions.read() as session:
            made = [e for e in jobs.listing(session, limit=100)[0] if e.id not in before]
        return sorted((each.kind.value, each.spec.get("name", "")) for each in made)

    assert asked("ants", "--name", "net", "--epochs", "2") == [("pretrain", "net")]
    several = [("group", ""), ("pretrain", "ants"), ("pretrain", "bees")]
    assert asked("ants", "bees", "--epochs", "2") == several
    assert asked("--all") == [*several, ("pretrain", "crabs")]
    for wrong in ([], ["ants"], ["ants", "bees", "--name", "net"], ["ants", "--all"]):
        assert said(monkeypatch, capsys, "pretrain", *wrong).startswith("2\n")


@pytest.mark.usefixtures("here")
def test_refusals_end_with_one_and_a_sentence(
    container: Container, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes.dataset(container)
    unknown = said(monkeypatch, capsys, "rank", "nothing")
    assert unknown.startswith("1\n")
    assert "There is no dataset called 'nothing'" in unknown
    refused = said(monkeypatch, capsys, "search", "animals", "--epochs", "0")
    assert refused.startswith("1\n")
    assert "training.epochs" in refused
    assert "(validation_error)" in refused
    assert said(monkeypatch, capsys, "jobs", "--wait").startswith("2\n")
    none = said(monkeypatch, capsys, "models", "--download", "x")
    assert none.startswith("1\n")
    assert "There is no model yet" in none
    assert said(monkeypatch, capsys, "jobs", "not-an-id").startswith("2\n")


@pytest.mark.usefixtures("here")
def test_models_are_shown_and_fetched(
    container: Container,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, model = scenes.finished(container, scenes.dataset(container))
    assert str(model.id) in said(monkeypatch, capsys, "models")
    folder = tmp_path / "out"
    fetched = said(monkeypatch, capsys, "models", str(model.id), "--download", str(folder))
    assert "48,211 parameters" in fetched
    assert fetched.startswith("0\n")
    assert "95.0 %" in fetched
    assert (folder / "model.onnx").read_bytes() == b"onnx" * 1_000
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "genotype.json"}
    newest = said(monkeypatch, capsys, "models", "--download", str(tmp_path / "newest"))
    assert newest.startswith("0\n")
    assert {path.name for path in (tmp_path / "newest").iterdir()} == {
        "model.onnx",
        "genotype.json",
    }


def test_datasets_by_id_prefix_and_name(program: headstart.Client, container: Container) -> None:
    first, second = scenes.dataset(container, "one"), scenes.dataset(container, "two")
    assert program.datasets.find(str(first.id))["name"] == "one"
    assert program.datasets.find("two")["id"] == str(second.id)
    length = next(n for n in range(4, 36) if str(first.id)[:n] != str(second.id)[:n])
    assert program.datasets.find(str(first.id)[:length])["name"] == "one"
    with pytest.raises(headstart.NotFound, match="There is no dataset"):
        program.datasets.find("abc")


def test_a_name_that_two_datasets_share_is_ambiguous(
    program: headstart.Client, container: Container
) -> None:
    first = scenes.dataset(container, "twin")
    with container.sessions.begin() as session:
        datasets.register(
            session,
            sha256="f" * 64,
            name="twin",
            classes=first.classes,
            train_counts=first.train_counts,
            test_counts=first.test_counts,
            channels=1,
            report=first.report,
        )
    with pytest.raises(headstart.Problem, match="use an id") as refused:
        program.datasets.find("twin")
    assert refused.value.code == "ambiguous"


def test_watching_a_job_that_fails(program: headstart.Client, container: Container) -> None:
    job = scenes.failed(container, scenes.dataset(container), "diverged", "The loss diverged.")
    with pytest.raises(headstart.JobFailed, match=r"The loss diverged\.") as refused:
        terminal.watch(program, program.jobs.get(str(job.id)))
    assert refused.value.code == "diverged"


def test_watching_asks_once_until_there_is_news(
    client: httpx.Client, container: Container
) -> None:
    job = scenes.running(container, scenes.dataset(container))
    asked: list[httpx.Request] = []

    class Heard(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return super().handle_request(request)

    result = {"model_id": str(uuid4())}

    def finish() -> None:
        with container.sessions.begin() as session:
            jobs.finish(session, job.id, job.fence, result)

    timer = threading.Timer(1.2, finish)
    timer.start()
    with headstart.Client(str(client.base_url), transport=Heard()) as program:
        done = terminal.watch(program, program.jobs.get(str(job.id)))
    timer.join()
    assert done["result"] == result
    assert len(asked) == 3  # of which the last has waited


@pytest.mark.parametrize("words", [("jobs",), ("upload", __file__)])
def test_no_server_is_one_clear_sentence(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "RETRY_FOR", 0.0)
    monkeypatch.setenv("HEADSTART_URL", "http://127.0.0.1:9")
    told = said(monkeypatch, capsys, *words)
    assert told.startswith("1\nNo Headstart server answers at http://127.0.0.1:9: start one with")


@pytest.mark.usefixtures("here")
def test_what_is_printed_is_json_where_asked_for(
    container: Container, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, model = scenes.finished(container, scenes.dataset(container))
    lists = ("jobs", "models", "supernets", "datasets list", "datasets versions animals")
    for typed in (*lists, "zoo list", "profiles list"):
        status, _, body = said(monkeypatch, capsys, *typed.split(), "--json").partition("\n")
        assert (status, "items" in json.loads(body)) == ("0", True), typed
    one = said(monkeypatch, capsys, "models", str(model.id), "--json").partition("\n")[2]
    assert json.loads(one)["id"] == str(model.id)
    asked = said(monkeypatch, capsys, "search", "animals", "--json").partition("\n")[2]
    job_id = json.loads(asked)["job_id"]
    job = said(monkeypatch, capsys, "jobs", job_id, "--cancel", "--json").partition("\n")[2]
    assert json.loads(job)["state"] == "cancelled"


@pytest.mark.usefixtures("here")
def test_a_shell_completes_the_names_of_datasets(
    container: Container, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ants", "bees"):
        scenes.dataset(container, name)
    monkeypatch.setenv("_HEADSTART_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "headstart search a")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert said(monkeypatch, capsys, "search").split() == ["0", "ants"]
    monkeypatch.setenv("HEADSTART_URL", "http://127.0.0.1:9")
    assert said(monkeypatch, capsys, "search").split() == ["0"]


def test_hints_are_for_codes_that_there_are_and_name_commands_that_there_are() -> None:
    assert set(terminal.HINTS) <= set(codes.CODES)
    known = set(get_command(cli.app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"`headstart ([a-z]+)", " ".join(terminal.HINTS.values())))
    assert named
    assert named <= known


@pytest.mark.usefixtures("client")
def test_a_server_is_kept_under_a_name_and_asked_by_it(
    served: Served,
    container: Container,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenes.dataset(container, "ants")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO("hs_canary\n"))
    told = said(monkeypatch, capsys, "login", "--url", served.url, "--as", "lab")
    assert told.startswith(f"0\nlab {served.url}\n")
    assert "ants" in said(monkeypatch, capsys, "--profile", "lab", "datasets", "list")
    told += said(monkeypatch, capsys, "profiles", "list")
    assert "lab" in told
    assert "canary" not in told
    unknown = said(monkeypatch, capsys, "--profile", "x", "jobs")
    assert unknown.startswith("1\n")
    assert "headstart login --as x" in unknown
    assert said(monkeypatch, capsys, "profiles", "rm", "lab").startswith("0")
    assert "hs_canary" not in (tmp_path / "headstart" / "config.toml").read_text()


def test_a_server_that_does_not_answer_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(terminal, "RETRY_FOR", 0.0)
    monkeypatch.setattr("sys.stdin", io.StringIO("hs_canary\n"))
    assert said(monkeypatch, capsys, "login", "--url", "http://127.0.0.1:9").startswith("1\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "fine"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.8.8", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("example.org", False)],
)  # fmt: skip
def test_only_loopback_without_being_told(tmp_path: Path, host: str, fine: bool) -> None:
    settings = Settings(home=tmp_path)
    if fine:
        serving.check_address(host, settings)
    else:
        with pytest.raises(ValueError, match="other machines"):
            serving.check_address(host, settings)
    told = Settings(home=tmp_path, allow_unauthenticated_network=True)
    serving.check_address(host, told)


def test_bad_settings_are_named_without_their_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADSTART_STORAGE__KIND", "s3")  # and no bucket
    monkeypatch.setenv("HEADSTART_STORAGE__SECRET_KEY", "canary")
    refused = said(monkeypatch, capsys, "serve")
    assert refused.startswith("1\n")
    assert "HEADSTART_STORAGE__BUCKET" in refused
    assert "canary" not in refused
    with pytest.raises(ValidationError) as caught:  # what other entry points would log
        Settings()
    assert "canary" not in str(caught.value)


def test_a_taken_port_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = said(monkeypatch, capsys, "serve", "--port", str(port))
    assert refused.startswith("1\n")
    assert f"Port {port} is taken" in refused
    assert not (tmp_path / "home").exists()


@pytest.mark.usefixtures("here", "worker")
def test_a_folder_of_images_is_uploaded_as_it_is(
    container: Container,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, data in archives.class_folders().items():
        path = tmp_path / "my.animals" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "my.animals" / "notes.txt").write_text("of mine")
    told = said(monkeypatch, capsys, "upload", str(tmp_path / "my.animals"), "--test-share", "0.5")
    assert "6 training and 6 test images" in told
    assert "Not an image" in told
    with container.sessions.read() as session:
        assert datasets.listing(session, limit=1)[0][0].name == "my.animals"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("size", [70_000, 120_000])
def test_an_upload_goes_on_where_it_was_when_the_connection_breaks(
    container: Container,
    served: Served,
    client: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    size: int,
) -> None:
    """Every connection ends after so many bytes: the file is longer than any of them."""
    assert client.get("/healthz").status_code == 200
    files = {**archives.class_folders(), "noise": random.Random(size).randbytes(150_000)}
    archive = tmp_path / "long.zip"
    archive.write_bytes(archives.zipped(files))
    assert archive.stat().st_size > 150_000
    place = urlsplit(served.url)
    monkeypatch.setattr("headstart.patience.FIRST", 0.05)
    with proxied((str(place.hostname), int(place.port or 0))) as proxy:
        proxy.cut_after(Way.SENT, size)
        monkeypatch.setenv("HEADSTART_URL", f"http://127.0.0.1:{proxy.port}")
        told = said(monkeypatch, capsys, "upload", str(archive))
        assert proxy.cuts >= 150_000 // size
    assert "2 classes, 10 training and 2 test images" in told
    eventually(lambda: not list(container.store.listing(keys.uploads(DEFAULT))))


@pytest.mark.usefixtures("here", "worker")
def test_all_that_is_wrong_with_an_upload_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {f"cat/bad{number}.png": b"no image" for number in range(120)}
    archive = tmp_path / "bad.zip"
    archive.write_bytes(archives.zipped({**archives.class_folders(), **bad}))
    told = said(monkeypatch, capsys, "upload", str(archive))
    assert told.startswith("1\n")
    assert "120 of 132 images cannot be read" in told
    assert all(f"{name}: The file is not" in told for name in bad)


@pytest.mark.usefixtures("here", "worker")
def test_a_file_may_be_called_what_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / os.fsdecode(b"caf\xe9.zip")
    archive.write_bytes(archives.zipped(archives.class_folders()))
    told = said(monkeypatch, capsys, "upload", str(archive), "--name", "cafe")
    assert "2 classes" in told


def test_help_is_shown_as_it_is_written() -> None:
    """What stands in brackets would be taken for a style, and vanish."""
    waiting, told = [get_command(each.app) for each in (cli, service_commands)], list[str]()
    while waiting:
        command: Any = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        told += [command.help or "", *(each.help or "" for each in command.params)]
    assert len(told) > 100
    assert [each for each in told if "[" in each] == []
