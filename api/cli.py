"""The command line: starts the service, or talks to one over HTTP.

Exit status: 0 done, 1 refused or failed (the reason is printed), 2 not a valid command.
"""

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from api import (
    dataset_commands,
    findings,
    inference_commands,
    login_commands,
    pruning_commands,
    search_commands,
    statistics_commands,
    terminal,
    upload_commands,
    webhook_commands,
    zoo_commands,
)
from api.commands import Commands
from api.web import words
from core.domain.datasets import Hubness
from core.errors import AppError
from headstart.problems import Problem
from headstart.schema import JobView, ModelView

app = typer.Typer(
    name="headstart",
    cls=Commands,
    help="A head start for neural architecture search.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

LATEST = 20  # of a list, where nothing is named

DatasetArgument = Annotated[
    str,
    typer.Argument(
        help="A dataset's id, unique id prefix, or name.", autocompletion=terminal.dataset_names
    ),
]
EmbedderOption = Annotated[
    str | None, typer.Option(help="As GET /v1/embedders names it; else the service's default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs of the search.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay and show progress until it ends.")]


def main() -> None:
    """The `headstart` command."""
    try:
        app(prog_name="headstart")
    except Problem as problem:
        terminal.show_problem(problem)
        sys.exit(1)
    except AppError as error:
        terminal.show_problem(Problem(error.message, code=error.stable_code))
        sys.exit(1)


@app.callback()
def root(
    profile: Annotated[
        str | None,
        typer.Option(
            help="The server and key that `headstart login --as` kept under this name; else "
            "HEADSTART_URL and HEADSTART_KEY, the profile `default`, or this machine."
        ),
    ] = None,
) -> None:
    """A head start for neural architecture search."""
    terminal.PROFILE.set(profile)


app.command("upload")(upload_commands.upload)
app.command()(login_commands.login)
app.command()(inference_commands.predict)
app.command()(search_commands.search)
app.command()(search_commands.estimate)
app.command()(search_commands.clone)
app.command()(search_commands.replay)
app.command()(pruning_commands.prune)
app.command()(pruning_commands.prunings)
app.command("statistics")(statistics_commands.write)
app.command("register-statistics")(statistics_commands.register)
app.command("supernets")(zoo_commands.registered)
app.add_typer(dataset_commands.app)
app.add_typer(login_commands.app)
app.add_typer(webhook_commands.app)
app.add_typer(zoo_commands.app)


@app.command()
def embed(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="A dataset's id, unique id prefix, or name.",
            autocompletion=terminal.dataset_names,
        ),
    ] = None,
    embedder: EmbedderOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every registered dataset.")] = False,
    as_json: AsJson = False,
) -> None:
    """Embed a dataset, or all, so that rankings by that embedder find them."""
    if (dataset is None) != every:
        raise typer.BadParameter("name one dataset, or give --all", param_hint="DATASET")
    with terminal.server() as client:
        listed = (each for each in client.datasets.list() if not each["statistics_only"])
        found = [client.datasets.find(dataset)] if dataset else list(listed)
        asked = [
            client.datasets.embed(each["id"], **terminal.given(embedder=embedder))
            for each in found
        ]
        done = [terminal.watch(client, job.view) for job in asked]
    if as_json:
        terminal.show_json({"items": done})
        return
    for each, job in zip(found, done, strict=True):
        named = (job["result"] or {})["embedder"]
        terminal.out.print(f"{each['name']} {named}", markup=False)


@app.command()
def rank(
    dataset: DatasetArgument,
    embedder: EmbedderOption = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many neighbours.")] = 10,
    supernets_only: Annotated[
        bool, typer.Option("--supernets-only", help="Only those that a search can start from.")
    ] = False,
    hubness: Annotated[
        Hubness, typer.Option(help="Correct for sources that are everybody's neighbour.")
    ] = Hubness.NONE,
    as_json: AsJson = False,
) -> None:
    """Rank every other dataset that the embedder has seen by its distance to a dataset."""
    with terminal.server() as client:
        at = client.datasets.id_of(dataset)
        body = terminal.given(
            embedder=embedder, k=k, supernets_only=supernets_only, hubness=hubness
        )
        terminal.watch(client, client.datasets.rank(at, **body).view)
        found = client.datasets.neighbours(at, k=k, supernets_only=supernets_only)
    if as_json:
        terminal.show_json(found)
    else:
        findings.show_neighbours(found)


@app.command()
def explain(
    dataset: DatasetArgument,
    source: Annotated[str, typer.Argument(help="A neighbour's id, unique id prefix, or name.")],
    as_json: AsJson = False,
) -> None:
    """Say why a source lies where the last ranking of a dataset put it."""
    with terminal.server() as client:
        found = client.datasets.neighbour(dataset, source)
    if as_json:
        terminal.show_json(found)
    else:
        findings.show_explanation(found)


@app.command()
def pretrain(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Each by its id, unique id prefix, or name.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the supernet; of several: as their datasets.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dataset with images.")] = False,
    epochs: Epochs = None,
    seed: Seed = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Train a supernet on a dataset, or on each of several, and register it as a source."""
    if bool(datasets) == every:
        raise typer.BadParameter("name datasets, or give --all", param_hint="DATASETS")
    alone = datasets if datasets and len(datasets) == 1 else None
    if (name is None) == bool(alone):
        raise typer.BadParameter("is for one dataset, and needed there", param_hint="--name")
    with terminal.server() as client:
        options: dict[str, Any] = {"training": terminal.given(epochs=epochs, seed=seed)}
        if alone and name:
            asked = client.supernets.create(alone[0], name=name, **options)
        else:
            listed = (each for each in client.datasets.list() if not each["statistics_only"])
            ids = [each["id"] for each in listed] if every else datasets or ()
            asked = client.supernets.pretrain(ids, **options)
        if not as_json:
            _say_submitted(asked.view)
        job = terminal.watch(client, asked.view) if wait else asked.view
    if as_json:
        terminal.show_json(job)
    elif wait:
        terminal.show_made(job)


@app.command()
def jobs(
    job_id: Annotated[UUID | None, typer.Argument(help="One job; else the latest.")] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Ask it to stop.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="What workers said of it.")] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Show jobs; cancel or follow one, or read its log."""
    if job_id is None and (cancel or wait or logs):
        raise typer.BadParameter("name the job that is meant", param_hint="JOB_ID")
    with terminal.server() as client:
        if job_id is None:
            found = list(islice(client.jobs.list(page_size=LATEST), LATEST))
            if as_json:
                terminal.show_json({"items": found})
            else:
                _show_jobs(found)
            return
        if cancel:
            client.jobs.cancel(str(job_id))
        job = client.jobs.get(str(job_id))
        if wait:
            job = terminal.watch(client, job)
        lines = list(client.jobs.logs(str(job_id))) if logs else []
    if as_json:
        terminal.show_json({"items": lines} if logs else job)
        return
    if logs:
        for each in lines:
            said = f"{each['at']}  {each['level']:<7}  {each['message']}"
            terminal.out.print(said, markup=False, soft_wrap=True)
        return
    _show_jobs([job])
    if job["error_message"]:
        terminal.out.print(f"{job['error_message']} ({job['error_code']})", markup=False)


@app.command()
def models(
    model_id: Annotated[UUID | None, typer.Argument(help="One model; else the latest.")] = None,
    download: Annotated[
        Path | None,
        typer.Option(help="Folder for the files of the model, or of the newest.", file_okay=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show models; download the files of one."""
    with terminal.server() as client:
        latest = client.models.list(page_size=LATEST)
        if model_id is None and download is None:
            found = list(islice(latest, LATEST))
            if as_json:
                terminal.show_json({"items": found})
                return
            rows = [_model_row(each) for each in found]
            terminal.show_table(("model", "retrained", "made"), rows)
            return
        newest = None if model_id else next(latest, None)
        if model_id is None and newest is None:
            raise Problem("There is no model yet: search one first.", code="not_found")
        model = newest or client.models.get(str(model_id))
        if as_json:
            terminal.show_json(model)
        else:
            terminal.show_model(model)
        if download is not None:
            with terminal.transfer("downloading") as sent:
                made = client.models.download(model["id"], download, progress=sent)
            for each in made if not as_json else ():
                terminal.out.print(str(each), markup=False)


def _say_submitted(job: JobView) -> None:
    terminal.out.print(f"job {job['id']}")


def _show_jobs(found: list[JobView]) -> None:
    rows = [
        (
            each["id"],
            words.kind(each["kind"]),
            each["state"],
            words.stage(each["stage"]),
            f"{100 * each['progress']:.0f} %",
            words.duration(each["cost_seconds"]),
        )
        for each in found
    ]
    terminal.show_table(("job", "kind", "state", "stage", "done", "compute"), rows)


def _model_row(model: ModelView) -> tuple[str, str, str]:
    retrained = model["metrics"].get("retrained") or {}
    return model["id"], words.percent(retrained.get("test_accuracy")), model["created_at"]


if __name__ == "__main__":
    main()
