"""Credentials of callers stay in memory: none in the log, the database, the files or an answer."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from core.config import S3Storage
from tests.fixtures import s3
from tests.fixtures.impostor import Heard, Impostor, answer, impostor
from tests.fixtures.servers import free_port, listens
from tests.unit.execution.bench import eventually

pytestmark = pytest.mark.services

DATA = bytes(range(256)) * 4_096
TOKEN = f"token-{secrets.token_hex(16)}"


@pytest.fixture
def echo() -> Iterator[Impostor]:
    """An endpoint that says back, wherever it can, what it was told."""

    def play(heard: Heard, connection: socket.socket) -> None:
        told = f"{heard.headers['authorization']} {heard.headers['x-amz-security-token']}"
        key = heard.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        status = 301 if "redirect" in heard.path else 206 if "garbage" in heard.path else 403
        body = f"<Error><Code>{key}</Code><Message>{told}</Message></Error>".encode()
        location, etag = f"http://127.0.0.1:1/{told}", f'"{key}"'
        whole = answer(status, body, reason=told, location=location, etag=etag, server=told)
        connection.sendall(whole if heard.method == "GET" else whole[: -len(body)])

    with impostor(play) as made:
        yield made


@pytest.fixture
def service(
    tmp_path: Path, s3_server: S3Storage, echo: Impostor
) -> Iterator[tuple[str, Path, Path]]:
    """`headstart serve` as an operator runs it: where it is, where it writes, what it logs."""
    port, home, log = free_port(), tmp_path / "home", tmp_path / "log"
    environment = {
        **os.environ,
        "HEADSTART_HOME": str(home),
        "HEADSTART_LOG_FORMAT": "json",
        "HEADSTART_S3_ENDPOINTS": json.dumps([s3_server.endpoint_url, echo.url]),
    }
    command = [sys.executable, "-m", "api.cli", "serve", "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        eventually(lambda: listens(port) or process.poll() is not None, seconds=120)
        yield f"http://127.0.0.1:{port}", home, log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def orders(theirs: S3Storage, echo: Impostor, keys: dict[str, str]) -> list[tuple[int, Any]]:
    """What is asked for, with the status that it ends in."""
    good = {"uri": f"s3://{theirs.bucket}/a.bin", "endpoint": theirs.endpoint_url, **keys}
    other = {**good, "endpoint": echo.url, "session_token": TOKEN}
    return [
        (201, good),
        (422, {**good, "secret_key": keys["secret_key"][::-1]}),
        (422, {**good, "uri": f"s3://{theirs.bucket}/nothing"}),
        (422, {**good, "sha256": "0" * 64}),
        (422, {**good, "endpoint": f"http://{keys['secret_key']}@127.0.0.1"}),
        (422, {**good, "region": 7}),
        (422, {**good, "session_token": f"{TOKEN}\n"}),
        (422, other),
        (422, {**other, "uri": "s3://bucket/redirect"}),
        (422, {**other, "uri": "s3://bucket/garbage"}),
        (503, {**good, "endpoint": echo.url, "uri": "s3://bucket/broken"}),
    ]


def test_secrets_stay_in_memory(
    service: tuple[str, Path, Path], s3_server: S3Storage, echo: Impostor
) -> None:
    url, home, log = service
    theirs = s3.fresh_bucket(s3_server)
    with s3.client(theirs) as owner:
        owner.put_object(Bucket=theirs.bucket, Key="a.bin", Body=DATA)
    assert isinstance(theirs.secret_key, SecretStr)
    assert isinstance(theirs.access_key, SecretStr)
    keys = {
        "access_key": theirs.access_key.get_secret_value(),
        "secret_key": theirs.secret_key.get_secret_value(),
    }
    said = []
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        for status, order in orders(theirs, echo, keys):
            made = client.post("/v1/uploads:s3", json=order)
            assert made.status_code == status, made.text
            said.append(made.content + str(made.headers).encode())
        body = json.dumps(keys)[:-1].encode()  # no JSON any more
        headers = {"Content-Type": "application/json"}
        said.append(client.post("/v1/uploads:s3", content=body, headers=headers).content)
        assert client.get("/healthz").status_code == 200
    written = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert any(DATA[:4_096] in content for content in written.values())  # it is looked at at all
    assert any(path.suffix == ".db" for path in written)
    for word in (*keys.values(), keys["secret_key"][::-1], TOKEN, "AWS4-HMAC-SHA256"):
        secret = word.encode()
        assert not [path for path, content in written.items() if secret in content], word
        assert secret not in log.read_bytes(), word
        assert not [each for each in said if secret in each], word
