"""What the command line shows: tables, progress bars, problems."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from api import sending
from api.remote import Json, Refused, Remote, path_of
from api.web import words

PAUSE = 1.0  # seconds from one look at a job to the next, at least
WIDE = 200  # piped into a file or another program: never cut an id in two

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def show_problem(refused: Refused) -> None:
    """The sentence, what it lists, and the code."""
    err.print(f"{escape(refused.sentence)} [dim]({escape(refused.code)})[/dim]")
    for detail in refused.details:
        if detail not in refused.sentence:
            err.print(f"  {escape(detail)}")


def show_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table; numbers on the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for position, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)


def show_json(body: Json) -> None:
    """A body as it came, in ASCII: any terminal and any program can read it."""
    sys.stdout.write(json.dumps(body, indent=2) + "\n")


def show_model(model: Json) -> None:
    """A model's accuracies and files."""
    metrics = model["metrics"]
    rows = [
        (name, words.percent((metrics.get(name) or {}).get("test_accuracy")))
        for name in ("supernet", "discretised", "retrained")
    ]
    out.print(f"model {model['id']}")
    show_table(("accuracy on the test split", ""), rows)
    files = [(each["name"], words.size(each["size"])) for each in model["artifacts"]]
    show_table(("file", "size"), files)


@contextmanager
def transfer(total: int) -> Iterator[Progress]:
    """A bar for an upload."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        bar.add_task("uploading", total=total)
        yield bar


def upload(
    remote: Remote,
    archives: Sequence[Path],
    *,
    name: str,
    options: Json,
    fetched: Sequence[str] = (),
) -> Json:
    """Send archives and wait until they, with uploads that are there already, are a dataset.

    Raises Refused, with all that is wrong.
    """
    with transfer(sum(archive.stat().st_size for archive in archives)) as bar:
        sent = partial(bar.advance, bar.task_ids[0])
        job = sending.upload(
            remote, archives, name=name, options=options, sent=sent, fetched=fetched
        )
    done = watch(remote, job)
    return remote.get(path_of("datasets", done["result"]["dataset_id"]))


def watch(remote: Remote, job: Json) -> Json:
    """Follow a job to its end. Raises Refused when it does not succeed."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(words.stage(job["stage"]), total=1.0, left="")
        tag: str | None = None
        while job["poll_after_ms"] is not None:
            eta = job["eta_seconds"]
            left = "" if eta is None else f"{words.left(eta)} left"
            said = words.stage(job["stage"])
            bar.update(task, completed=job["progress"], description=said, left=left)
            first, asked = tag is None, time.monotonic()
            job, tag = remote.news(f"/v1/jobs/{job['id']}", job, tag)
            if job["poll_after_ms"] is not None and not (first and tag):
                # Of a job that goes on all the time there is always news.
                time.sleep(max(0.0, PAUSE - (time.monotonic() - asked)))
    if job["state"] == "failed":
        sentence = job["error_message"] or "The job failed; the service's log says more."
        raise Refused(sentence, code=job["error_code"] or "failed", details=_found(remote, job))
    if job["state"] == "cancelled":
        raise Refused("The job was cancelled.", code="cancelled")
    return job


def _found(remote: Remote, job: Json) -> tuple[str, ...]:
    """What was wrong with an upload, all of it."""
    if job["kind"] != "ingest":
        return ()
    records = remote.get(path_of("jobs", job["id"], "records"), stage="refusal")["items"]
    found = [each for record in records for each in record["values"]["findings"]]
    return tuple(f"{each['place']}: {each['message']}" for each in found)
