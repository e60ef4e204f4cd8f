"""The command line: starts the service, or talks to one over HTTP.

Exit status: 0 done, 1 refused or failed (the reason is printed), 2 not a valid command.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from api import (
    dataset_commands,
    findings,
    operating,
    remote,
    serving,
    statistics_commands,
    terminal,
    upload_commands,
    zoo_commands,
)
from api.remote import Json, Refused, Remote, path_of
from api.web import words
from core.domain.datasets import Hubness
from core.domain.searches import Method, Objective, Selection, StartPolicy
from core.errors import AppError

app = typer.Typer(
    name="headstart",
    help="A head start for neural architecture search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DatasetArgument = Annotated[str, typer.Argument(help="A dataset's id, unique id prefix, or name.")]
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
        app()
    except Refused as refused:
        terminal.show_problem(refused)
        sys.exit(1)
    except AppError as error:
        terminal.show_problem(Refused(error.message, code=error.stable_code))
        sys.exit(1)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8765,
) -> None:
    """Run the service here: database, files and workers included unless Redis is configured."""
    settings = serving.read_settings()
    try:
        serving.check_address(host, settings)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--host") from error
    serving.check_free(host, port)
    serving.run(settings, host=host, port=port)


app.command("upload")(upload_commands.upload)
app.command()(operating.worker)
app.command()(operating.migrate)
app.command("doctor")(operating.check)
app.command()(operating.gc)
app.command()(operating.verify)
app.command()(operating.restored)
app.command("statistics")(statistics_commands.write)
app.command("register-statistics")(statistics_commands.register)
app.command("supernets")(zoo_commands.registered)
app.add_typer(dataset_commands.app)
app.add_typer(zoo_commands.app)


@app.command()
def embed(
    dataset: Annotated[
        str | None, typer.Argument(help="A dataset's id, unique id prefix, or name.")
    ] = None,
    embedder: EmbedderOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every registered dataset.")] = False,
) -> None:
    """Embed a dataset, or all, so that rankings by that embedder find them."""
    if (dataset is None) != every:
        raise typer.BadParameter("name one dataset, or give --all", param_hint="DATASET")
    with _server() as server:
        listed = (each for each in server.listed("/v1/datasets") if not each["statistics_only"])
        found = [server.dataset(dataset)] if dataset else list(listed)
        body = _given(embedder=embedder)
        asked = [server.post(path_of("datasets", f"{each['id']}:embed"), body) for each in found]
        for each, job in zip(found, asked, strict=True):
            done = terminal.watch(server, job)
            terminal.out.print(f"{each['name']} {done['result']['embedder']}", markup=False)


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
    with _server() as server:
        at = path_of("datasets", server.dataset(dataset)["id"])
        body = _given(embedder=embedder, k=k, supernets_only=supernets_only, hubness=hubness)
        terminal.watch(server, server.post(f"{at}:rank", body))
        # A query's truth values are words.
        chosen = str(supernets_only).lower()
        found = server.get(f"{at}/neighbours", k=k, supernets_only=chosen)
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
    with _server() as server:
        ids = [server.dataset(each)["id"] for each in (dataset, source)]
        found = server.get(path_of("datasets", ids[0], "neighbours", ids[1]))
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
) -> None:
    """Train a supernet on a dataset, or on each of several, and register it as a source."""
    if bool(datasets) == every:
        raise typer.BadParameter("name datasets, or give --all", param_hint="DATASETS")
    alone = datasets if datasets and len(datasets) == 1 else None
    if (name is None) == bool(alone):
        raise typer.BadParameter("is for one dataset, and needed there", param_hint="--name")
    with _server() as server:
        listed = server.listed("/v1/datasets") if every else map(server.dataset, datasets or ())
        ids = [each["id"] for each in listed if not (every and each["statistics_only"])]
        body = {"training": _given(epochs=epochs, seed=seed)}
        if alone:
            job = server.post(path_of("supernets"), body | {"dataset_id": ids[0], "name": name})
        else:
            job = server.post(path_of("supernets:pretrain"), body | {"dataset_ids": ids})
        _say_submitted(job)
        if wait:
            job = terminal.watch(server, job)
            _say_made(job, "supernet_id")


@app.command()
def search(
    dataset: DatasetArgument,
    policy: Annotated[
        StartPolicy | None, typer.Option(help="Where to start; else the winner of a short race.")
    ] = None,
    supernet: Annotated[UUID | None, typer.Option(help="The source of policy supernet.")] = None,
    epochs: Epochs = None,
    seed: Seed = None,
    learning_rate: Annotated[
        list[float] | None,
        typer.Option(help="May be repeated: the best one is kept; else one that suits the start."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Epochs without progress that end the search; 0: it runs to its end."),
    ] = None,
    retrain_epochs: Annotated[int | None, typer.Option(help="Epochs of the retraining.")] = None,
    method: Annotated[Method | None, typer.Option(help="How alphas are fitted.")] = None,
    cells: Annotated[str | None, typer.Option(help="Cell space of a cold start.")] = None,
    channels: Annotated[int | None, typer.Option(help="Width of its first cell.")] = None,
    layers: Annotated[int | None, typer.Option(help="Its cells.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side of its images in pixels.")] = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Adapt a warm start's source to that space, too.")
    ] = False,
    selection: Annotated[
        Selection | None, typer.Option(help="How cells are chosen in the end.")
    ] = None,
    objective: Annotated[
        list[Objective] | None,
        typer.Option(help="May be repeated: list the cells that trade it off with accuracy."),
    ] = None,
    contribute: Annotated[
        bool, typer.Option("--contribute", help="Let later searches start from its supernet.")
    ] = False,
    wait: Wait = False,
) -> None:
    """Search an architecture for a dataset."""
    with _server() as server:
        found = server.dataset(dataset)
        if supernet is not None and policy is None:
            policy = StartPolicy.SUPERNET
        body = _given(
            dataset_id=found["id"],
            policy=policy,
            supernet_id=None if supernet is None else str(supernet),
            learning_rates=learning_rate or None,
            patience=patience,
            retrain_epochs=retrain_epochs,
            selection=selection,
            objectives=objective or None,
            contribute=contribute or None,
            training=_given(epochs=epochs, seed=seed, method=method),
            space=_given(cells=cells, channels=channels, layers=layers, resolution=resolution),
            adapt=adapt,
        )
        asked = server.post(path_of("searches"), body)
        terminal.out.print(f"search {asked['id']}")
        _say_submitted(asked["job"])
        if wait:
            job = terminal.watch(server, asked["job"])
            done = server.get(path_of("searches", asked["id"]))
            findings.show_start(done["start"] or {})
            terminal.show_model(server.get(path_of("models", done["model_id"])))
            _say_made(job, "supernet_id")


@app.command()
def jobs(
    job_id: Annotated[UUID | None, typer.Argument(help="One job; else the latest.")] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Ask it to stop.")] = False,
    wait: Wait = False,
) -> None:
    """Show jobs; cancel or follow one."""
    if job_id is None and (cancel or wait):
        raise typer.BadParameter("name the job to cancel or to wait for", param_hint="JOB_ID")
    with _server() as server:
        if job_id is None:
            _show_jobs(server.get(path_of("jobs"), page_size=20)["items"])
            return
        if cancel:
            server.post(path_of("jobs", f"{job_id}:cancel"))
        job = server.get(path_of("jobs", str(job_id)))
        if wait:
            job = terminal.watch(server, job)
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
) -> None:
    """Show models; download the files of one."""
    with _server() as server:
        if model_id is None and download is None:
            found = server.get(path_of("models"), page_size=20)["items"]
            terminal.show_table(
                ("model", "retrained", "made"), [_model_row(each) for each in found]
            )
            return
        named = _newest_model(server) if model_id is None else str(model_id)
        model = server.get(path_of("models", named))
        terminal.show_model(model)
        if download is not None:
            _download(server, model, download)


def _newest_model(server: Remote) -> str:
    found = server.get(path_of("models"), page_size=1)["items"]
    if not found:
        raise Refused("There is no model yet: search one first.", code="not_found")
    return str(found[0]["id"])


def _download(server: Remote, model: Json, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for artifact in model["artifacts"]:
        target = folder / Path(artifact["name"]).name
        server.download(artifact["href"], target, sha256=artifact["sha256"])
        terminal.out.print(str(target), markup=False)


@contextmanager
def _server() -> Iterator[Remote]:
    with remote.connect() as http:
        yield Remote(http)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _say_submitted(job: Json) -> None:
    terminal.out.print(f"job {job['id']}")


def _say_made(job: Json, key: str) -> None:
    made = (job["result"] or {}).get(key)
    if made:
        terminal.out.print(f"{key.removesuffix('_id')} {made}")


def _show_jobs(found: list[Json]) -> None:
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


def _model_row(model: Json) -> tuple[str, str, str]:
    retrained = model["metrics"].get("retrained") or {}
    return model["id"], words.percent(retrained.get("test_accuracy")), model["created_at"]


if __name__ == "__main__":
    main()
