"""The compose file, and the rules that every service of it keeps."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from core.domain.jobs import QueueName
from tests.unit.deployment.dockerfiles import PROJECT, SECRET, pinned, stages
from tests.unit.deployment.environment import PREFIX, interpolated, known_names, variables

Service = Mapping[str, Any]
WAITS = {"service_healthy", "service_completed_successfully"}


def load(text: str | None = None) -> dict[str, Any]:
    """The compose file (or `text`), with its anchors resolved and its variables as they stand."""
    loaded = yaml.safe_load(text or (PROJECT / "docker-compose.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def faults(document: Mapping[str, Any]) -> list[str]:
    """Every rule that the compose file breaks, in words that begin with the service."""
    services = document["services"]
    found = [f"{name}: {fault}" for name, each in services.items() for fault in _faults(each)]
    return [*found, *_waiting_faults(services)]


def one_shot(service: Service) -> bool:
    """Whether the service runs once and ends."""
    return bool(service.get("restart") == "no")


def environment(service: Service) -> dict[str, str]:
    """What the service's processes are told."""
    return dict(service.get("environment", {}))


def memory_bytes(text: str) -> int:
    """A size as Compose spells it, in bytes."""
    units = {"k": 1024, "m": 1024**2, "g": 1024**3}
    return int(text[:-1]) * units[text[-1].lower()]


def seconds(text: str) -> float:
    """A duration as Compose spells it."""
    units = {"s": 1.0, "m": 60.0}
    return float(text[:-1]) * units[text[-1]]


def _faults(service: Service) -> Iterator[str]:
    yield from _image_faults(service)
    yield from _health_faults(service)
    yield from _confinement_faults(service)
    yield from _resource_faults(service)
    yield from _environment_faults(service)
    for port in service.get("ports", ()):
        if not str(port).startswith("127.0.0.1:"):
            yield f"port {port} is open to the network"


def _image_faults(service: Service) -> Iterator[str]:
    if not pinned(service.get("image", "")):
        yield f"the image {service.get('image')} is not pinned"
    build = service.get("build")
    if build is None and "user" not in service:
        yield "runs as whoever its image says, which may be root"
    if build is not None and not (PROJECT / build["dockerfile"]).is_file():
        yield f"there is no {build['dockerfile']}"
    if str(service.get("user", "")).split(":")[0] in {"root", "0"}:
        yield "runs as root"


def _health_faults(service: Service) -> Iterator[str]:
    check = service.get("healthcheck", {})
    if one_shot(service):
        return
    if service.get("restart") not in {"unless-stopped", "always"}:
        yield "nothing starts it again"
    if "stop_grace_period" not in service:
        yield "no stop_grace_period"
    if check.get("disable"):
        yield "its health check is switched off"
    if "test" not in check and not _image_checks_itself(service):
        yield "no health check"
    if "test" in check and not {"interval", "timeout", "retries"} <= check.keys():
        yield "its health check lacks interval, timeout or retries"


def _image_checks_itself(service: Service) -> bool:
    path = PROJECT / service.get("build", {}).get("dockerfile", "")
    return path.is_file() and stages(path.read_text())[-1].last("HEALTHCHECK") is not None


def _confinement_faults(service: Service) -> Iterator[str]:
    if service.get("read_only") is not True:
        yield "its root can be written to"
    if not any(str(each).startswith("/tmp:size=") for each in service.get("tmpfs", ())):
        yield "no bounded /tmp"
    if service.get("cap_drop") != ["ALL"] or "cap_add" in service:
        yield "keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield "may gain privileges"
    if service.get("privileged") or service.get("network_mode") == "host":
        yield "has the run of the host"
    if "driver" not in service.get("logging", {}):
        yield "its log grows without an end"


def _resource_faults(service: Service) -> Iterator[str]:
    resources = service.get("deploy", {}).get("resources", {})
    for kind, wanted in {
        "limits": {"cpus", "memory", "pids"},
        "reservations": {"cpus", "memory"},
    }.items():
        missing = wanted - resources.get(kind, {}).keys()
        if missing:
            yield f"its {kind} lack {', '.join(sorted(missing))}"


def _environment_faults(service: Service) -> Iterator[str]:
    known = set(known_names())
    for name, value in environment(service).items():
        if name.startswith(PREFIX) and name not in known:
            yield f"{name} is no setting"
        yield from _secret_faults(name, str(value))
    words = interpolated(list(service.get("command", ())), {})
    if "--queues" in words:
        for queue in words[words.index("--queues") + 1].split(","):
            if queue not in set(QueueName):
                yield f"there is no queue {queue}"


def _secret_faults(name: str, value: str) -> Iterator[str]:
    asked = variables(value)
    for variable, default in asked.items():
        if SECRET.search(variable) and default:
            yield f"{variable} has a default value"
    holds = SECRET.search(name) or (name.endswith("_URL") and "@" in value)
    if holds and not any(SECRET.search(variable) for variable in asked):
        yield f"{name} is written down in the file"


def _waiting_faults(services: Mapping[str, Service]) -> Iterator[str]:
    for name, service in services.items():
        waits = service.get("depends_on", {})
        if not isinstance(waits, dict):
            yield f"{name}: depends_on without conditions"
            continue
        for other, terms in waits.items():
            condition = terms.get("condition")
            if other not in services:
                yield f"{name}: waits for {other}, which there is not"
            elif condition not in WAITS:
                yield f"{name}: waits for {other} to be started only"
            elif one_shot(services[other]) != (condition == "service_completed_successfully"):
                yield f"{name}: waits for what {other} never becomes ({condition})"
