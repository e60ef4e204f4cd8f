"""A Dockerfile as a list of stages, and the rules that ours keep."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).parents[3]
TAG = re.compile(r"[\w./-]+:(?P<tag>[\w.-]+)(@sha256:[0-9a-f]{64})?")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", re.IGNORECASE)


@dataclass(frozen=True)
class Instruction:
    """One instruction with its continuation lines joined; `line` is where it begins."""

    line: int
    keyword: str
    argument: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each simple command of a RUN in shell form."""
        return [shlex.split(part) for part in re.split(r"&&|;|\|\|?", self.argument)]


@dataclass
class Stage:
    """What one FROM begins; `base` has its arguments filled in."""

    base: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, keyword: str) -> Instruction | None:
        """The instruction of that kind that counts."""
        found = [each for each in self.instructions if each.keyword == keyword]
        return found[-1] if found else None


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, in order; comments are left out."""
    pending, began = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        began = began or number
        if line.endswith("\\"):
            pending += line[:-1].rstrip() + " "
            continue
        keyword, _, argument = (pending + line).partition(" ")
        yield Instruction(began, keyword.upper(), argument.strip())
        pending, began = "", 0


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile. Raises ValueError when it has none."""
    found: list[Stage] = []
    arguments: dict[str, str] = {}
    for each in instructions(text):
        if each.keyword == "FROM":
            base, _, name = each.argument.partition(" AS ")
            found.append(Stage(_filled(base, arguments), name.strip() or None))
        elif found:
            found[-1].instructions.append(each)
        elif each.keyword == "ARG":
            name, _, default = each.argument.partition("=")
            arguments[name] = default
        else:
            raise ValueError(f"line {each.line}: {each.keyword} before FROM")
    if not found:
        raise ValueError("no FROM")
    return found


def exec_form(instruction: Instruction) -> list[str]:
    """The words of a CMD, ENTRYPOINT or HEALTHCHECK. Raises ValueError unless in exec form."""
    text = instruction.argument
    if instruction.keyword == "HEALTHCHECK":
        text = text.partition("CMD ")[2].strip()
    words = json.loads(text) if text.startswith("[") else None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"line {instruction.line}: {instruction.keyword} is not in exec form")
    return words


def faults(text: str) -> list[str]:
    """Every rule that the Dockerfile breaks, in words."""
    every = stages(text)
    names = {stage.name for stage in every}
    found = [
        f"{s.base} is not pinned" for s in every if s.base not in names and not pinned(s.base)
    ]
    for stage in every:
        for each in stage.instructions:
            found += [f"line {each.line}: {fault}" for fault in _instruction_faults(each)]
    return [*found, *_final_faults(every[-1])]


def pinned(image: str) -> bool:
    """Whether the image's tag names one version: not `latest`, and more than a major number."""
    match = TAG.fullmatch(image)
    return match is not None and re.search(r"\d+\.\d+", match["tag"]) is not None


def _filled(text: str, arguments: dict[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: arguments.get(match[1], match[0]), text.strip())


def _instruction_faults(each: Instruction) -> Iterator[str]:
    match each.keyword:
        case "RUN":
            yield from _run_faults(each)
        case "ADD":
            yield "ADD fetches and unpacks; COPY does not"
        case "MAINTAINER":
            yield "MAINTAINER is deprecated"
        case "WORKDIR" if not each.argument.startswith("/"):
            yield "WORKDIR is not absolute"
        case "ENV" | "ARG" if SECRET.search(each.argument):
            yield "a secret would stay in the image"
        case "CMD" | "ENTRYPOINT" | "HEALTHCHECK":
            try:
                exec_form(each)
            except ValueError as error:
                yield str(error)


def _run_faults(each: Instruction) -> Iterator[str]:
    installs = False
    for words in each.commands:
        program = Path(words[0]).name if words else ""
        if program in {"sudo", "apt", "cd"}:
            yield f"{program} has no place in a Dockerfile"
        if program == "apt-get" and "install" in words:
            installs = True
            yield from _apt_faults(words)
        if program == "pip" and "install" in words:
            yield from _pip_faults(words, cache="--no-cache-dir")
        if program == "uv" and "install" in words:
            yield from _pip_faults(words, cache="--no-cache")
        if program in {"curl", "wget"}:
            yield f"{program} brings in what nothing pins"
    if installs and "rm -rf /var/lib/apt/lists/*" not in each.argument:
        yield "the package lists stay in the layer"
    if installs and not each.argument.startswith("apt-get update"):
        yield "apt-get install without an update in the same layer"


def _apt_faults(words: list[str]) -> Iterator[str]:
    if "--no-install-recommends" not in words:
        yield "apt-get install without --no-install-recommends"
    if not {"-y", "--yes"} & set(words):
        yield "apt-get install would ask"
    for package in words[words.index("install") + 1 :]:
        if not package.startswith("-") and "=" not in package:
            yield f"the version of {package} is not pinned"


def _pip_faults(words: list[str], *, cache: str) -> Iterator[str]:
    if cache not in words:
        yield f"{words[0]} install without {cache}"
    if "--constraint" in words:
        return
    for package in words[words.index("install") + 1 :]:
        if not package.startswith("-") and "==" not in package:
            yield f"the version of {package} is not pinned"


def _final_faults(stage: Stage) -> Iterator[str]:
    user = stage.last("USER")
    identity = user.argument.split(":") if user else []
    if not identity or not all(part.isdigit() and int(part) > 0 for part in identity):
        yield "the image does not end as a numbered user who is not root"
    elif any(
        each.keyword in {"RUN", "COPY"} for each in stage.instructions[_place(stage, user) :]
    ):
        yield "something is installed as the user who runs it"
    if stage.last("HEALTHCHECK") is None:
        yield "no HEALTHCHECK"
    if stage.last("CMD") is None and stage.last("ENTRYPOINT") is None:
        yield "neither CMD nor ENTRYPOINT"


def _place(stage: Stage, instruction: Instruction | None) -> int:
    return next(i for i, each in enumerate(stage.instructions) if each is instruction)
