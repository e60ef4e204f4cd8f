"""Both Dockerfiles keep the rules of hadolint that matter, and build from what is there."""

import fnmatch
import importlib
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.unit.deployment.dockerfiles import (
    PROJECT,
    Stage,
    exec_form,
    faults,
    instructions,
    pinned,
    stages,
)

FILES = ("Dockerfile.api", "Dockerfile.worker")
SOUND = """\
ARG BASE=debian:12.1-slim
FROM ${BASE} AS build
RUN apt-get update \\
    # the interpreter
    && apt-get install --yes --no-install-recommends python3=3.11.* \\
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv==1.2.3
FROM build
USER 10001:10001
HEALTHCHECK CMD ["true"]
CMD ["python3"]
"""


def text_of(name: str) -> str:
    return (PROJECT / name).read_text()


def words_of(stage: Stage, keyword: str) -> list[str]:
    found = stage.last(keyword)
    return exec_form(found) if found else []


@pytest.mark.parametrize("name", FILES)
def test_no_rule_is_broken(name: str) -> None:
    assert faults(text_of(name)) == []


def test_the_sound_example_is_sound() -> None:
    assert faults(SOUND) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("debian:12.1-slim", "debian", "debian is not pinned"),
        ("debian:12.1-slim", "debian:latest", "debian:latest is not pinned"),
        ("debian:12.1-slim", "debian:12-slim", "debian:12-slim is not pinned"),
        ("FROM build", "FROM alpine", "alpine is not pinned"),
        ("python3=3.11.*", "python3", "line 3: the version of python3 is not pinned"),
        (" --no-install-recommends", "", "line 3: apt-get install without --no-install-recom"),
        (" --yes", "", "line 3: apt-get install would ask"),
        (" \\\n    && rm -rf /var/lib/apt/lists/*", "", "line 3: the package lists stay"),
        (
            "apt-get update \\\n    # the interpreter\n    &&",
            "",
            "line 3: apt-get install without an",
        ),
        ("RUN apt-get update", "RUN sudo apt-get update", "line 3: sudo has no place"),
        (" --no-cache-dir", "", "line 7: pip install without --no-cache-dir"),
        ("uv==1.2.3", "uv", "line 7: the version of uv is not pinned"),
        ("RUN pip", "RUN /opt/x/bin/pip install uv && pip", "line 7: /opt/x/bin/pip install wi"),
        ("RUN pip", "RUN curl -O http://example.test/x && pip", "line 7: curl brings in"),
        ("USER 10001:10001\n", "", "does not end as a numbered user"),
        ("USER 10001:10001", "USER root", "does not end as a numbered user"),
        ("USER 10001:10001", "USER 0:10001", "does not end as a numbered user"),
        ("USER 10001:10001", "USER headstart", "does not end as a numbered user"),
        ("USER 10001:10001", "USER 10001\nUSER root", "does not end as a numbered user"),
        ("USER 10001:10001", "USER 10001:10001\nRUN true", "installed as the user"),
        ('CMD ["python3"]', "CMD python3", "CMD is not in exec form"),
        ('CMD ["true"]', "CMD true", "HEALTHCHECK is not in exec form"),
        ('CMD ["python3"]', 'ENTRYPOINT "python3"', "ENTRYPOINT is not in exec form"),
        ('CMD ["python3"]\n', "", "neither CMD nor ENTRYPOINT"),
        ('HEALTHCHECK CMD ["true"]\n', "", "no HEALTHCHECK"),
        ("USER 1", "ADD http://example.test/x /x\nUSER 1", "ADD fetches"),
        ("USER 1", "ENV REDIS_PASSWORD=x\nUSER 1", "a secret would stay"),
        ("USER 1", "WORKDIR srv\nUSER 1", "WORKDIR is not absolute"),
    ],
)
def test_each_broken_rule_is_named(before: str, after: str, fault: str) -> None:
    assert before in SOUND
    found = faults(SOUND.replace(before, after))
    assert any(fault in each for each in found), found


@pytest.mark.parametrize("text", ["", "RUN true\nFROM debian:12.1"])
def test_what_is_no_dockerfile_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="FROM"):
        faults(text)


def test_a_digest_may_follow_the_tag() -> None:
    assert pinned("redis:8.0.5@sha256:" + "0" * 64)
    assert not pinned("redis:8.0.5@sha256:0")


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_is_there_and_is_sent_to_the_builder(name: str) -> None:
    copied = [
        source
        for each in instructions(text_of(name))
        if each.keyword == "COPY" and not each.argument.startswith("--from")
        for source in each.argument.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (PROJECT / source).exists(), source
        assert _sent(source), f"{source} is held back by .dockerignore"
    packages = tomllib.loads(text_of("pyproject.toml"))["tool"]["setuptools"]["packages"]
    assert {each.rstrip("*") for each in packages["find"]["include"]} <= set(copied)


def test_the_builder_gets_neither_secrets_nor_data() -> None:
    for kept in (".env", ".git", "var", "tests", ".venv", "core/__pycache__"):
        assert not _sent(kept), kept


def test_both_install_with_the_same_pinned_installer() -> None:
    pins = {word for name in FILES for word in text_of(name).split() if word.startswith("uv==")}
    assert len(pins) == 1


def test_the_commands_start_what_exists() -> None:
    api, worker = (stages(text_of(name))[-1] for name in FILES)
    server, *arguments = words_of(api, "CMD")
    assert server == "uvicorn"
    module, _, factory = arguments[arguments.index("--factory") + 1].partition(":")
    assert callable(getattr(importlib.import_module(module), factory))
    python, option, package = words_of(worker, "ENTRYPOINT")
    assert (python, option) == ("python", "-m")
    assert find_spec(f"{package}.__main__") is not None


def _sent(path: str) -> bool:
    """Whether .dockerignore lets the path through: the last line that fits decides."""
    kept = True
    for line in text_of(".dockerignore").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        if any(fnmatch.fnmatch(part, pattern) for part in _ways(path)):
            kept = line.startswith("!")
    return kept


def _ways(path: str) -> set[str]:
    """The path, its parents, and its last part alone."""
    whole = Path(path)
    return {str(whole), whole.name, *(str(each) for each in whole.parents if each.name)}
