"""Progress: a bar in the terminal, a function of the caller's, or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from headstart.schema import JobView

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

# Bytes that have gone, of how many; and a job that has changed.
Sent = Callable[[int, int], None]
Told = Callable[[JobView], None]
# True: a bar of the client's own.
OnBytes = Sent | bool | None
OnJob = Told | bool | None


@contextmanager
def transferring(
    progress: OnBytes, description: str, *, console: "Console | None" = None
) -> Iterator[Sent]:
    """Who is to hear of bytes that have gone."""
    if progress is not True:
        yield progress or (lambda _done, _total: None)
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
    )
    with _bar(*columns, console=console) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def following(
    progress: OnJob,
    *,
    console: "Console | None" = None,
    stage: Callable[[str], str] = str,
    left: Callable[[float], str] = lambda seconds: str(timedelta(seconds=round(seconds))),
) -> Iterator[Told]:
    """Who is to hear of a job that has changed; `stage` and `left` are how a bar says those."""
    if progress is not True:
        yield progress or (lambda _job: None)
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.TextColumn("{task.percentage:>3.0f} %"),
        rich.TextColumn("{task.fields[left]}"),
    )
    with _bar(*columns, console=console) as bar:
        task = bar.add_task("", total=1.0, left="")

        def told(job: JobView) -> None:
            eta = job["eta_seconds"]
            said = "" if eta is None else f"{left(eta)} left"
            bar.update(task, completed=job["progress"], description=stage(job["stage"]), left=said)

        yield told


def part_of(told: Sent, before: int, total: int) -> Sent:
    """Who is to hear of one file of several, after so many bytes of the others."""
    return lambda done, _: told(before + done, total)


def _bar(*columns: "ProgressColumn", console: "Console | None") -> "Progress":
    """On the error output, and only where somebody looks."""
    from rich.console import Console
    from rich.progress import Progress

    shown = console or Console(stderr=True)
    return Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal)
