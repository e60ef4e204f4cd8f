"""What the command line shows: tables, progress bars, problems."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import headstart
from api.web import words
from headstart import bars
from headstart.bars import Sent
from headstart.problems import JobFailed, Problem
from headstart.schema import FullDatasetView, JobView, ModelView

WIDE = 200  # piped into a file or another program: never cut an id in two
RETRY_FOR = 5.0  # seconds that somebody at a terminal waits for a server that is away

# What to run next, by what went wrong.
HINTS = {
    "unauthenticated": "`headstart login` asks for a key and keeps it; HEADSTART_KEY gives one.",
    "key_expired": "`headstart login` asks for another key and keeps it.",
    "key_revoked": "`headstart login` asks for another key and keeps it.",
    "not_ranked": "`headstart rank DATASET` ranks it.",
    "not_a_neighbour": "`headstart rank DATASET -k 100` keeps more neighbours.",
    "dataset_in_use": "`headstart jobs` shows them; `headstart jobs ID --cancel` ends one.",
    "too_many_jobs": "`headstart jobs` shows them; `headstart jobs ID --cancel` ends one.",
    "webhook_off": "`headstart webhooks update WEBHOOK --enable` turns it on.",
    "too_many_webhooks": "`headstart webhooks delete WEBHOOK` makes room.",
    "quota_exceeded": "`headstart datasets rm DATASET` makes room.",
}

# Of --profile, which is said before any command.
PROFILE: ContextVar[str | None] = ContextVar("profile", default=None)

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def server() -> Iterator[headstart.Client]:
    """The server of --profile, else the one that the environment or a profile names."""
    with headstart.Client(profile=PROFILE.get(), retry_for=RETRY_FOR) as client:
        yield client


def dataset_names() -> list[str]:
    """What a shell may complete a dataset's name to; nothing where no server answers at once."""
    try:
        with headstart.Client(timeout=1.0, retry_for=0.0) as client:
            return sorted({each["name"] for each in client.datasets.list()})
    except Problem:
        return []


def show_problem(problem: Problem) -> None:
    """The sentence, what it lists, the code, and what to run next."""
    err.print(f"{escape(problem.detail)} [dim]({escape(problem.code)})[/dim]")
    for detail in problem.details:
        if detail not in problem.detail:
            err.print(f"  {escape(detail)}")
    if hint := HINTS.get(problem.code):
        err.print(hint, markup=False)
    if isinstance(problem, JobFailed):
        err.print(f"`headstart jobs {problem.job['id']}` shows the job.", markup=False)


def show_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table; numbers on the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for position, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)


def show_json(body: Any) -> None:
    """A body as it came, in ASCII: any terminal and any program can read it."""
    sys.stdout.write(json.dumps(body, indent=2) + "\n")


def show_model(model: ModelView) -> None:
    """A model's accuracies and files."""
    metrics = model["metrics"]
    rows = [
        (name, words.percent((metrics.get(name) or {}).get("test_accuracy")))
        for name in ("supernet", "discretised", "retrained")
        if name in metrics or name == "retrained"  # a given architecture has that alone
    ]
    out.print(f"model {model['id']}")
    show_table(("accuracy on the test split", ""), rows)
    sizes = [
        f"{words.count(metrics.get(n))} {words.OBJECTIVES[n]}" for n in ("parameters", "flops")
    ]
    out.print(", ".join(sizes))
    files = [(each["name"], words.size(each["size"])) for each in model["artifacts"]]
    show_table(("file", "size"), files)


@contextmanager
def transfer(description: str = "uploading") -> Iterator[Sent]:
    """A bar for files on their way."""
    with bars.transferring(True, description, console=err) as sent:
        yield sent


def upload(
    client: headstart.Client,
    archives: Sequence[Path],
    *,
    name: str,
    uploads: Sequence[str] = (),
    **options: Any,
) -> FullDatasetView:
    """Send archives and wait until they, with uploads that are there already, are a dataset.

    Raises Problem, with all that is wrong.
    """
    client.health()  # who has no server hears so at once; what has begun waits through outages
    with transfer() as sent:
        job = client.datasets.send(archives, name=name, uploads=uploads, progress=sent, **options)
    done = watch(client, job.view)
    return client.datasets.get((done["result"] or {})["dataset_id"])


def show_made(job: JobView) -> None:
    """The supernet that a job has registered, if any."""
    made = (job["result"] or {}).get("supernet_id")
    if made:
        out.print(f"supernet {made}")


def watch(client: headstart.Client, job: JobView) -> JobView:
    """Follow a job to its end. Raises Problem when it does not succeed."""
    with bars.following(True, console=err, stage=words.stage, left=words.left) as told:
        return client.jobs.wait(job["id"], progress=told)


def given(**values: Any) -> dict[str, Any]:
    """Options that were given."""
    return {name: value for name, value in values.items() if value is not None}
