"""Commands for whoever runs the service: they use its database and store, not its HTTP."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Annotated

import typer

import headstart
from api import doctor, environment, terminal
from api.web import words
from core import bootstrap
from core.bootstrap import Container
from core.config import Settings
from core.db import schema
from core.execution import caches, collector, verification
from core.execution.collector import Finding, Kind
from core.execution.verification import Problem
from core.services import restoring
from core.storage import select
from core.zoo import entry

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]
HOUR = 3600.0
WHY = {
    Kind.CHECKPOINT: "checkpoints that nobody resumes from",
    Kind.ABANDONED: "files of attempts that came to nothing",
    Kind.UNFINISHED: "half-written files and uploads",
    Kind.EXPIRED: "uploads whose time is over",
    Kind.DELETED: "files of deleted datasets",
    Kind.UNKNOWN: "files of jobs that this database does not know",
}


def worker(
    queues: Annotated[str, typer.Option(help="Whose jobs to take: cpu, gpu, or both.")] = "cpu",
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
) -> None:
    """Compute jobs of a cluster until told to stop; `serve` alone does so on one machine."""
    settings = environment.read_settings()
    if settings.redis_url is None:
        raise headstart.Problem(
            "A worker needs HEADSTART_REDIS_URL; on one machine `headstart serve` computes too.",
            code="not_a_cluster",
        )
    if find_spec("torch") is None:
        raise headstart.Problem(
            "This computes: install headstart-nas[worker] to have what it takes.",
            code="not_installed",
        )
    options = ["--queues", queues, "--concurrency", str(concurrency)]
    # In this process's place: signals and the exit status are the worker's own.
    os.execv(sys.executable, [sys.executable, "-m", "worker", *options])


def migrate(
    bucket: Annotated[bool, typer.Option("--bucket", help="Make the bucket first.")] = False,
) -> None:
    """Make the database ready for this version and register the package's supernets.

    Before the first start and after each upgrade; does nothing when done.
    """
    settings = environment.read_settings()
    bootstrap.configure_logging(settings.log_format)
    if bucket:
        select.make_bucket(settings)
    schema.migrate(settings.database)
    with _container(settings) as container:
        entry.enter_shipped(settings, container.sessions, container.store)
    terminal.out.print("The database is ready.")


def gc(
    dry_run: DryRun = False,
    older_than: Annotated[
        float, typer.Option(min=1, help="Hours; what is younger is left alone.")
    ] = collector.GRACE_SECONDS / HOUR,
    unknown_jobs: Annotated[
        bool,
        typer.Option(
            "--unknown-jobs",
            help="Also files of jobs unknown to the database: be sure it is the right one.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what nothing needs any more, from this machine's caches too. Safe beside running
    workers."""
    settings = environment.read_settings()
    count: Counter[Kind] = Counter()
    size: Counter[Kind] = Counter()

    def tell(found: Finding) -> None:
        count[found.kind] += 1
        size[found.kind] += found.size
        if dry_run and not as_json:
            terminal.out.print(f"{found.kind} {found.size} {found.key}", markup=False)

    with _container(settings) as container:
        if not dry_run:
            caches.tidy(container.sessions, settings.home)
        collector.collect(
            container.sessions,
            container.store,
            tell=tell,
            grace_seconds=older_than * HOUR,
            unknown=unknown_jobs,
            dry_run=dry_run,
        )
    kept = {Kind.UNKNOWN} - ({Kind.UNKNOWN} if unknown_jobs else set())
    if as_json:
        found = {k.value: {"objects": count[k], "bytes": size[k], "kept": k in kept} for k in Kind}
        terminal.show_json({"dry_run": dry_run, **found})
        return
    done = "would go" if dry_run else "gone"
    rows = [(WHY[k], count[k], words.size(size[k]), "kept" if k in kept else done) for k in Kind]
    terminal.show_table(("", "objects", "size", ""), rows)


def verify(as_json: AsJson = False) -> None:
    """Read every stored file that the database names and compare its checksum."""
    settings = environment.read_settings()
    problems: list[Problem] = []
    with _container(settings) as container:
        read = verification.verify(container.sessions, container.store, tell=problems.append)
    if as_json:
        found = [{"fault": p.fault.value, "owner": p.owner, "key": p.key} for p in problems]
        terminal.show_json({"read": read, "problems": found})
    else:
        terminal.out.print(f"{read} objects read, {len(problems)} not as they should be")
        rows = [(each.fault.value, each.owner, each.key) for each in problems]
        if rows:
            terminal.show_table(("", "of", "key"), rows)
    if problems:
        raise typer.Exit(1)


def restored() -> None:
    """Once after restoring a backup, before anything runs: lost attempts can do no harm."""
    settings = environment.read_settings()
    with _container(settings) as container, container.sessions.begin() as session:
        count = restoring.begin_anew(session)
    terminal.out.print(f"{count} jobs that had not ended will go on from what was backed up.")


def check(as_json: AsJson = False) -> None:
    """Check everything that the service stands on and say what to do about what is wrong."""
    findings = doctor.examine(environment.read_settings())
    if as_json:
        lines = [
            {"what": each.what, "state": each.state.value, "said": each.said, "todo": each.todo}
            for each in findings
        ]
        terminal.show_json({"checks": lines})
    else:
        rows = [(each.state.value, each.what, each.said) for each in findings]
        terminal.show_table(("", "", ""), rows)
        for each in findings:
            if each.todo:
                terminal.out.print(f"{each.what}: {each.todo}", markup=False)
    if any(each.state is doctor.State.FAIL for each in findings):
        raise typer.Exit(1)


@contextmanager
def _container(settings: Settings) -> Iterator[Container]:
    container = bootstrap.build(settings)
    try:
        yield container
    finally:
        container.close()
