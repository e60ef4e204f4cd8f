"""Which GPUs this machine has and which of them are meant; CUDA is not loaded for that.

Asked of `nvidia-smi`, which comes with the driver and speaks for it: a library would be one more
thing to install where there is no GPU.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import InvalidInput, Unavailable

ALL, NONE = "all", "none"
VISIBLE = "CUDA_VISIBLE_DEVICES"
FIELDS = "index,uuid,name,driver_version,memory.total"
QUERY = ("nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits")
ANSWER_SECONDS = 30.0  # the first question after a boot loads the driver; a lost GPU hangs it
_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: its index by the bus, as nvidia-smi counts, and what stays while the machine runs.

    `memory_bytes` is None for one that shares the machine's memory.
    """

    index: int
    uuid: str
    name: str
    driver: str
    memory_bytes: int | None


def devices() -> tuple[Gpu, ...]:
    """The machine's GPUs; none without a driver. Raises Unavailable if that cannot answer."""
    try:
        said = subprocess.run(
            QUERY, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except FileNotFoundError:
        return ()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"nvidia-smi does not answer ({type(error).__name__}).") from error
    if said.returncode != 0:
        words = (said.stdout + said.stderr).strip().splitlines()
        raise Unavailable(f"nvidia-smi failed: {words[0] if words else said.returncode}")
    return tuple(_gpu(line) for line in said.stdout.splitlines() if line.strip())


def _gpu(line: str) -> Gpu:
    try:
        index, uuid, rest = (part.strip() for part in line.split(",", 2))
        name, driver, memory = (part.strip() for part in rest.rsplit(",", 2))
        size = int(memory) * _MIB if memory.isdecimal() else None
        return Gpu(int(index), uuid, name, driver, size)
    except ValueError as error:
        raise Unavailable(f"nvidia-smi says what nobody understands: {line!r}") from error


def chosen(wanted: str, found: Sequence[Gpu], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The UUIDs of the GPUs meant, each to be some process's CUDA_VISIBLE_DEVICES.

    Args:
        wanted: `all`, `none`, or indices, UUIDs and beginnings of UUIDs, by commas. A UUID of a
            part of a GPU (`MIG-...`) is taken as it is.
        found: The machine's GPUs.
        environment: Of this process. Where it narrows what CUDA sees, `all` is what is left.

    Raises:
        InvalidInput: a GPU that is not there or is named twice, or none at all for `all`.
    """
    if wanted.strip().lower() == NONE:
        return ()
    if wanted.strip().lower() != ALL:
        return _named(wanted, found)
    seen = environment.get(VISIBLE)
    all_of_them = tuple(gpu.uuid for gpu in found) if seen is None else _named(seen, found)
    if not all_of_them:
        raise InvalidInput("This machine shows no GPU; HEADSTART_WORKER_GPUS=none goes without.")
    return all_of_them


def _named(wanted: str, found: Sequence[Gpu]) -> tuple[str, ...]:
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    meant = tuple(_one(name, found) for name in names)
    if len(set(meant)) < len(meant):
        raise InvalidInput(f"A GPU is named twice in {wanted!r}.")
    if not meant and wanted.strip():
        raise InvalidInput(f"{wanted!r} names no GPU; say all, none, or which by commas.")
    return meant


def _one(name: str, found: Sequence[Gpu]) -> str:
    if name.startswith("MIG-"):
        return name
    meant = [
        gpu.uuid
        for gpu in found
        if (int(name) == gpu.index if name.isdecimal() else gpu.uuid.startswith(name))
    ]
    if len(meant) != 1:
        there = ", ".join(f"{gpu.index} ({gpu.uuid}, {gpu.name})" for gpu in found) or "none"
        which = "no GPU" if not meant else "more than one GPU"
        raise InvalidInput(f"{name!r} is {which} of this machine, which has: {there}.")
    return meant[0]
