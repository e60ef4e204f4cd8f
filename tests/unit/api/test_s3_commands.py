"""`headstart upload s3://…`: the service fetches, with the credentials of the caller's shell."""

from pathlib import Path

import pytest

from api import s3_orders
from core.bootstrap import Container
from core.services import datasets
from tests.fixtures.impostor import Impostor, honest
from tests.unit.api import archives
from tests.unit.api.conftest import Say
from tests.unit.api.fetches import SECRETS, endpoint, listed

__all__ = ["endpoint", "listed"]

GIVEN = {
    "AWS_ACCESS_KEY_ID": SECRETS["access_key"],
    "AWS_SECRET_ACCESS_KEY": SECRETS["secret_key"],
    "AWS_SESSION_TOKEN": SECRETS["session_token"],
}
NAMES = (*GIVEN, "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A shell with credentials and nothing else that S3 tools read."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.usefixtures("worker")
def test_an_object_becomes_a_dataset_by_one_command(
    say: Say, endpoint: Impostor, listed: Container, shell: pytest.MonkeyPatch
) -> None:
    endpoint.play = honest(archives.zipped(archives.class_folders()))
    told = say("upload", "s3://bucket/some/animals.zip", "--s3-endpoint", endpoint.url)
    assert told.startswith("0\n"), told
    assert "2 classes" in told
    assert "CANARY" not in told
    assert {each.path for each in endpoint.heard} == {"/bucket/some/animals.zip"}
    with listed.sessions.read() as session:
        assert datasets.listing(session, limit=1)[0][0].name == "animals"


@pytest.mark.usefixtures("worker")
def test_objects_and_files_are_one_dataset(
    say: Say, endpoint: Impostor, listed: Container, shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shell.setenv("AWS_ENDPOINT_URL_S3", endpoint.url)
    for index, name in enumerate(("train", "test")):
        files = {n: archives.png(100 * index + i) for i, n in enumerate(archives.class_folders())}
        (tmp_path / f"{name}.zip").write_bytes(archives.zipped(files))
    endpoint.play = honest((tmp_path / "train.zip").read_bytes())
    told = say(
        "upload", "s3://bucket/train.zip", str(tmp_path / "test.zip"), "--name", "both"
    )  # fmt: skip
    assert told.startswith("0\n"), told
    assert "12 training and 12 test images" in told


def test_a_refusal_is_told(
    say: Say, endpoint: Impostor, listed: Container, shell: pytest.MonkeyPatch
) -> None:
    told = say("upload", "s3://bucket/folder/", "--s3-endpoint", endpoint.url)
    assert told.startswith("1\n")
    assert "invalid_s3_uri" in told
    told = say("upload", "s3://bucket/a.zip", "--s3-endpoint", "https://elsewhere.example")
    assert "url_not_allowed" in told
    assert "CANARY" not in told
    assert endpoint.heard == []


def test_without_credentials_nothing_is_asked(
    say: Say, endpoint: Impostor, listed: Container, shell: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        with shell.context() as change:
            change.delenv(name)
            told = say("upload", "s3://bucket/a.zip", "--s3-endpoint", endpoint.url)
        assert told.startswith("1\n")
        assert "no_credentials" in told
    assert endpoint.heard == []


def test_what_is_no_file_and_no_object_is_said(say: Say, tmp_path: Path) -> None:
    told = say("upload", str(tmp_path / "nothing.zip"))
    assert told.startswith("2\n")
    assert "does not exist" in told


@pytest.mark.parametrize(
    ("given", "option", "endpoint", "region"),
    [
        ({}, None, "https://s3.us-east-1.amazonaws.com", "us-east-1"),
        ({"AWS_REGION": "eu-1"}, None, "https://s3.eu-1.amazonaws.com", "eu-1"),
        ({"AWS_DEFAULT_REGION": "eu-2"}, "https://a", "https://a", "eu-2"),
        ({"AWS_REGION": "eu-1", "AWS_DEFAULT_REGION": "eu-2"}, "https://a", "https://a", "eu-1"),
        ({"AWS_ENDPOINT_URL": "https://b"}, None, "https://b", "us-east-1"),
        (
            {"AWS_ENDPOINT_URL": "https://b", "AWS_ENDPOINT_URL_S3": "https://c"},
            None, "https://c", "us-east-1",
        ),
        ({"AWS_ENDPOINT_URL_S3": "https://c"}, "https://a", "https://a", "us-east-1"),
    ],
)  # fmt: skip
def test_the_usual_variables_say_where_and_who(
    shell: pytest.MonkeyPatch,
    given: dict[str, str],
    option: str | None,
    endpoint: str,
    region: str,
) -> None:
    for name, value in given.items():
        shell.setenv(name, value)
    uri = "s3://bucket/key"
    expected = {"uri": uri, "endpoint": endpoint, "region": region, **SECRETS}
    assert s3_orders.order(uri, option) == expected
