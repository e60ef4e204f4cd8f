"""Stored files of a model or a pruning, into a folder."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from headstart import bars
from headstart._async import files, running
from headstart._async.connection import AsyncConnection, address
from headstart.bars import OnBytes
from headstart.operations import Operation
from headstart.problems import NotFound
from headstart.schema import ArtifactView


async def download(
    at: AsyncConnection,
    operation: Operation,
    ids: dict[str, str],
    artifacts: Sequence[ArtifactView],
    folder: str | PathLike[str],
    *,
    named: Sequence[str] | None,
    progress: OnBytes,
) -> list[Path]:
    """Fetch these files, all or those that are named, by that operation; where they are.

    Each appears under its name only when it is whole and its checksum is right.
    """
    known = {each["name"]: each for each in artifacts}
    wanted = list(known) if named is None else list(named)
    if missing := [name for name in wanted if name not in known]:
        detail = f"There is no file '{missing[0]}'; it has: {', '.join(known)}."
        raise NotFound(detail, code="not_found")
    into, before = Path(folder), 0
    await running.run(into.mkdir, parents=True, exist_ok=True)
    total = sum(known[name]["size"] for name in wanted)
    made: list[Path] = []
    with bars.transferring(progress, "downloading") as told:
        for name in wanted:
            target = into / Path(name).name
            await files.download(
                at,
                address(operation, name=name, **ids),
                target,
                sha256=known[name]["sha256"],
                told=bars.part_of(told, before, total),
            )
            before += known[name]["size"]
            made.append(target)
    return made
