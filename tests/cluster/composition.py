"""What the compose file and its images run, and in which environment, with our addresses."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.unit.deployment import compose
from tests.unit.deployment.dockerfiles import PROJECT, Stage, exec_form, stages
from tests.unit.deployment.environment import interpolated

IMAGE_HOME = "/var/lib/headstart"
LOOPBACK = "127.0.0.1"


class Composition:
    """The file's services with its variables filled in; `ports` are where each one's port is now.

    A service's name in an address becomes the loopback address, its port the one given here.
    """

    def __init__(self, given: Mapping[str, str], ports: Mapping[str, int]) -> None:
        self._services: Mapping[str, Any] = interpolated(compose.load()["services"], given)
        self._ports = dict(ports)

    def command(self, name: str) -> list[str]:
        """What a container of the service runs: its image's entry point with the file's words."""
        service, stage = self._services[name], self._stage(name)
        entry = stage.last("ENTRYPOINT")
        default = stage.last("CMD")
        said = service.get("command") or (exec_form(default) if default else [])
        return self._ours(name, [*(exec_form(entry) if entry else []), *said])

    def environment(self, name: str, home: Path) -> dict[str, str]:
        """What its processes are told: by the image, then by the file."""
        told: dict[str, str] = {}
        for each in self._stage(name).instructions:
            if each.keyword == "ENV":
                told |= dict(pair.split("=", 1) for pair in shlex.split(each.argument))
        told |= compose.environment(self._services[name])
        told |= {"HOME": IMAGE_HOME, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
        return {
            variable: self._localised(str(value)).replace(IMAGE_HOME, str(home))
            for variable, value in told.items()
        }

    def health_check(self, name: str) -> list[str]:
        """The command by which the service's image is judged."""
        found = self._stage(name).last("HEALTHCHECK")
        assert found is not None, f"the image of {name} has no HEALTHCHECK"
        return self._ours(name, exec_form(found))

    def redis_options(self) -> dict[str, str]:
        """The options that the file gives to Redis."""
        service = self._services["redis"]
        shell = service["command"][-1]
        for variable, value in compose.environment(service).items():
            shell = shell.replace(f"${variable}", value)
        words = shlex.split(shell.partition("redis-server ")[2])
        return {
            name.removeprefix("--"): value
            for name, value in zip(words[::2], words[1::2], strict=True)
        }

    def told(self, name: str) -> dict[str, str]:
        """What the file tells a service that is none of ours."""
        return compose.environment(self._services[name])

    def _stage(self, name: str) -> Stage:
        return stages((PROJECT / self._services[name]["build"]["dockerfile"]).read_text())[-1]

    def _ours(self, name: str, words: Sequence[str]) -> list[str]:
        """The words with this environment's programs, on loopback, at the service's port."""
        found = [self._localised(word, own=name) for word in words]
        found[0] = str(Path(sys.executable).with_name(found[0]))
        for option, value in {"--host": LOOPBACK, "--port": str(self._ports.get(name))}.items():
            if option in found:
                found[found.index(option) + 1] = value
        return found

    def _localised(self, text: str, own: str = "") -> str:
        for service, port in self._ports.items():
            text = re.sub(rf"\b{service}:\d+", f"{LOOPBACK}:{port}", text)
        if own in self._ports:  # what a container calls itself
            text = re.sub(rf"{re.escape(LOOPBACK)}:\d+", f"{LOOPBACK}:{self._ports[own]}", text)
        return text
