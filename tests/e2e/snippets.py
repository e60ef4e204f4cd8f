"""The fenced blocks of the documents: found, run as a reader would, their outputs compared."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
import yaml

import headstart
from api.cli import app
from tests.cluster import docker
from tests.unit.deployment.environment import known_names

PROJECT = Path(__file__).parents[2]
RUN = {"sh", "console", "python"}
LANGUAGES = RUN | {"json", "ini", "text"}
MANIFESTS = PROJECT / "deploy" / "kubernetes"
BLOCK_SECONDS = 300
TURN = "\x1e"  # parts what one command says from what the next one does
NUMBER = r"\d+(?:\.\d+)?"
SIZE = rf"{NUMBER} (?:bytes|[kMG]B)\b"
TIME = rf"{NUMBER} (?:h|min|s)\b(?: {NUMBER} (?:min|s)\b)*"
# What may be something else in another run, and what may be there instead.
VARIES = {"time": TIME, "size": SIZE, "number": NUMBER, "any": ".*", "blank": " *"}
PART = re.compile(
    rf"(?P<time>{TIME})|(?P<size>{SIZE})|(?P<number>{NUMBER})|(?P<any>…)|(?P<blank> )|."
)
LINK = re.compile(r"\]\(([^)\s:]+)\)")
METHOD = re.compile(r"\bclient\.([\w.]+)\(")
TARGET = re.compile(r"^([a-z-]+):", re.M)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: which document, the line that it begins in, its language, its text."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[str]:
    """Everything that people read."""
    found = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
    return sorted(str(each.relative_to(PROJECT)) for each in found)


def blocks(document: str) -> Iterator[Block]:
    """The document's fenced blocks. Raises ValueError for a fence that nobody would find."""
    begun: tuple[int, str] | None = None
    held: list[str] = []
    for number, line in enumerate((PROJECT / document).read_text("utf-8").splitlines(), start=1):
        if not line.lstrip(" >-*").startswith(("```", "~~~")):
            held.append(line)
        elif begun is None:
            language = line.removeprefix("```")
            if language not in LANGUAGES:
                raise ValueError(f"{document}:{number}: {line!r} is none of {sorted(LANGUAGES)}")
            begun, held = (number, language), []
        elif line == "```":
            yield Block(document, *begun, "".join(f"{each}\n" for each in held))
            begun = None
        else:
            raise ValueError(f"{document}:{number}: {line!r} ends nothing")
    if begun is not None:
        raise ValueError(f"{document}:{begun[0]}: has no end")


def dead_links(document: str) -> list[str]:
    """The document's links to files, or to headings in files, that there are not."""
    path = PROJECT / document
    links = [each.partition("#") for each in LINK.findall(path.read_text("utf-8"))]
    found = [(path.parent / name if name else path, heading) for name, _, heading in links]
    return [
        f"{document}: {at.name}#{heading}"
        for at, heading in found
        if not at.exists() or (heading and heading not in _headings(at.read_text("utf-8")))
    ]


def _headings(text: str) -> set[str]:
    lines = (line.lstrip("#").strip().lower() for line in text.splitlines() if line[:1] == "#")
    return {re.sub(r"[^\w\- ]", "", line).replace(" ", "-") for line in lines}


@dataclass(slots=True)
class Reader:
    """Somebody who runs a document's blocks from top to bottom, in one shell and one Python.

    `here` is where the service is that documents say is `there`.
    """

    environment: dict[str, str]
    there: str
    here: str
    names: dict[str, Any] = field(default_factory=dict)

    def runs(self, block: Block) -> None:
        """Run it; what it sets stays for the next. Raises AssertionError where it fails."""
        text = re.sub(rf"(127\.0\.0\.1|localhost):{self.there}\b", self.here, block.text)
        if block.language == "python":
            exec(compile("\n" * block.line + text, block.document, "exec"), self.names)
        elif block.language == "console":
            self._converses(block, text)
        else:
            self._says(block, text)

    def leaves(self) -> None:
        """Close the clients that the document left open."""
        for each in self.names.values():
            if isinstance(each, headstart.Client):
                each.close()

    def _says(self, block: Block, script: str) -> str:
        # What a block assigns is there in the next one, as in a shell that stays open.
        left = Path(self.environment["CURL_HOME"], ".environment")
        outcome = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f'set -a\n{script}\nenv -0 > "$READER"'],
            env=self.environment | {"READER": str(left)},
            cwd=self.environment["PWD"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        assert outcome.returncode == 0, f"{block}: {outcome.returncode}\n{outcome.stdout}"
        pairs = left.read_text("utf-8").split("\0")
        self.environment = dict(each.split("=", 1) for each in pairs if each)
        return outcome.stdout

    def _converses(self, block: Block, text: str) -> None:
        told = list(conversation(text))
        turns = [f"{command}\nprintf '{TURN}'" for command, _ in told]
        said = self._says(block, "\n".join(turns)).split(TURN)
        for (command, shown), heard in zip(told, said, strict=False):
            assert alike(shown, heard), f"{block}: {command} should say\n{shown}\nbut\n{heard}"


def conversation(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what it is said to say."""
    command, shown = "", ""
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line[2:], ""
        elif not command:
            raise ValueError(f"{line!r} is what no command says")
        elif command.endswith("\\") and not shown:
            command += f"\n{line}"
        else:
            shown += f"{line}\n"
    yield command, shown


def alike(shown: str, heard: str) -> bool:
    """Whether a document shows what was heard: numbers, times and blanks may differ.

    `…` stands for anything in its line, and in a line of its own for any lines.
    """
    pattern = "".join(_pattern(line) for line in shown.splitlines())
    return re.fullmatch(pattern, "".join(f"{each}\n" for each in _lines(heard))) is not None


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _pattern(line: str) -> str:
    words = " ".join(line.split())
    if not words:
        return ""
    if words == "…":
        return r"(?:.*\n)*?"
    found = (
        VARIES.get(str(each.lastgroup)) or re.escape(each[0]) for each in PART.finditer(words)
    )
    return "".join(found) + r" *\n"


def unknown(block: Block) -> list[str]:
    """What a block that is not run names and there is not: commands, options, files, methods."""
    if block.language == "json":
        json.loads(block.text.replace(", …", ""))
        return []
    if block.language == "ini":
        told = [line.partition("=")[0] for line in block.text.splitlines()]
        return [name for name in told if name not in set(known_names())]
    if block.language == "python":
        compile(block.text, str(block), "exec")
        return [path for path in METHOD.findall(block.text) if not _has(path)]
    return [fault for words in _commands(block) for fault in _faults(words)]


def _has(path: str) -> bool:
    found: object = headstart.Client("http://127.0.0.1:1")
    for name in path.split("."):
        found = getattr(found, name, None)
    return callable(found)


def _commands(block: Block) -> Iterator[list[str]]:
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.replace("...", " "), comments=True)
        while words and "=" in words[0]:
            words = words[1:]
        if words:
            yield words


def _faults(words: list[str]) -> Iterator[str]:
    checks: dict[str, Callable[[list[str]], Iterator[str]]] = {
        "headstart": _command_faults,
        "make": _target_faults,
        "kubectl": _manifest_faults,
        "docker": _composition_faults,
    }
    if check := checks.get(Path(words[0]).name):
        yield from check(words[1:])


def _command_faults(words: list[str]) -> Iterator[str]:
    found: Any = typer.main.get_command(app)
    rest = iter(words)
    while hasattr(found, "get_command"):
        name = next(rest, "")
        inner = found.get_command(None, name)
        if inner is None:
            yield f"there is no command {name!r} in {words}"
            return
        found = inner
    known = {option for each in found.params for option in each.opts} | {"--help"}
    for each in rest:
        if each.startswith("-") and each.split("=")[0] not in known:
            yield f"{found.name} knows no {each}"


def _target_faults(words: list[str]) -> Iterator[str]:
    known = set(TARGET.findall((PROJECT / "Makefile").read_text("utf-8")))
    yield from (f"make knows no {each}" for each in words if "=" not in each and each not in known)


def _manifest_faults(words: list[str]) -> Iterator[str]:
    manifests = [
        one for each in MANIFESTS.glob("*.yaml") for one in yaml.safe_load_all(each.read_text())
    ]
    made = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in manifests}
    known = set(known_names())
    for each in words:
        option, _, name = each.partition("=")
        if option == "--from-literal" and name.partition("=")[0] not in known:
            yield f"{name} is no setting"
        if each.startswith("deployment/") and each not in made:
            yield f"there is no {each}"
    for option, name in pairwise(words):
        if option in {"-f", "--filename"} and not (PROJECT / name).exists():
            yield f"there is no {name}"


def _composition_faults(words: list[str]) -> Iterator[str]:
    try:
        docker.parsed(words)
    except SystemExit:
        yield f"docker compose takes no {words}"


def reading(folder: Path, **told: str) -> dict[str, str]:
    """The environment of somebody who reads in that folder; programs in its `bin` come first."""
    # Where somebody would see that something was refused, curl has to fail.
    (folder / ".curlrc").write_text("silent\nshow-error\nfail\n")
    kept = {name: text for name, text in os.environ.items() if not name.startswith("HEADSTART_")}
    programs = (folder / "bin", Path(sys.executable).parent, kept["PATH"])
    return kept | {
        "CURL_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PATH": os.pathsep.join(map(str, programs)),
        "PWD": str(folder),
        "OMP_NUM_THREADS": "1",
        **told,
    }
