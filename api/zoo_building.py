"""`headstart zoo build`: a folder of archives in, one supernet trained on all of them out."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from api import terminal
from core.data import manifests
from headstart.problems import Problem

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst")
TOLD = frozenset({"licence", "source"})


def build(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Archives, one a dataset.")
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write.", dir_okay=False)],
    name: Annotated[str, typer.Option(help="What to call the supernet.")],
    only: Annotated[
        list[str] | None, typer.Option(help="May be repeated: take these archives alone.")
    ] = None,
    about: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help='JSON by archive: {"NAME": {"licence": "...", "source": "..."}}.',
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the training.")] = 20,
    steps: Annotated[int, typer.Option(min=1, help="Batches of a round.")] = 100,
    paths: Annotated[int, typer.Option(min=0, help="Sub-networks that learn beside.")] = 2,
    channels: Annotated[int, typer.Option(help="Width of the supernet.")] = 8,
    layers: Annotated[int, typer.Option(help="Its cells.")] = 4,
    resolution: Annotated[int, typer.Option(help="Side of its images in pixels.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Of its weights, at first.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    continue_from: Annotated[
        UUID | None,
        typer.Option(
            help="A supernet of several datasets of the same space: go on from it, also on all "
            "of its own datasets that the service has."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a supernet on all archives of a folder at once, through the service, as a file."""
    archives = _archives(folder, only, fewest=2 if continue_from is None else 1)
    told = _told(about)
    with terminal.server() as client:
        datasets = [
            terminal.upload(client, [path], name=called) for called, path in archives.items()
        ]
        if not as_json:
            for each in datasets:
                terminal.out.print(f"dataset {each['id']} {each['name']}", markup=False)
        first, *others = (each["id"] for each in datasets)
        job = client.supernets.create(
            first,
            name=name,
            others=others,
            space={"channels": channels, "layers": layers, "resolution": resolution},
            training={"epochs": rounds, "seed": seed, "paths": paths},
            learning_rate=learning_rate,
            steps=steps,
            continue_from=None if continue_from is None else str(continue_from),
        )
        done = terminal.watch(client, job.view)
        supernet = (done["result"] or {})["supernet_id"]
        with tempfile.TemporaryDirectory(prefix="headstart-") as scratch:
            made = client.supernets.export(supernet, Path(scratch) / "made")
            _write(out, made, told)
    if as_json:
        ids = [each["id"] for each in datasets]
        terminal.show_json({"supernet_id": supernet, "dataset_ids": ids, "file": str(out)})
        return
    terminal.out.print(f"supernet {supernet}")
    terminal.out.print(str(out), markup=False)


def _archives(folder: Path, only: list[str] | None, *, fewest: int) -> dict[str, Path]:
    """The folder's archives by their names without suffix."""
    found = {
        path.name.removesuffix(suffix): path
        for path in sorted(folder.iterdir())
        for suffix in ARCHIVES
        if path.name.endswith(suffix)
    }
    missing = sorted(set(only or ()) - set(found))
    if missing:
        raise Problem(f"{folder} has no archive '{missing[0]}'.", code="not_found")
    chosen = {name: path for name, path in found.items() if not only or name in only}
    if len(chosen) < fewest:
        message = f"{folder} has {len(chosen)} archives; {fewest} or more are needed."
        raise Problem(message, code="too_few")
    return chosen


def _told(about: Path | None) -> Mapping[str, Any]:
    if about is None:
        return {}
    try:
        told = json.loads(about.read_text())
        fit = all(set(each) <= TOLD for each in told.values())
    except (ValueError, AttributeError, TypeError) as error:
        raise Problem(f"{about} is not JSON by archive: {error}.", code="unreadable") from error
    if not fit:
        message = f"{about}: each archive has a licence, a source, and nothing else."
        raise Problem(message, code="unreadable")
    return dict(told)


def _write(out: Path, made: Path, told: Mapping[str, Any]) -> None:
    """The bundle with what is known of its datasets' licences."""
    manifest, _ = manifests.read(made)
    datasets = [each | told.get(each["name"], {}) for each in manifest.lineage["datasets"]]
    lineage = {**manifest.lineage, "datasets": datasets}
    partial = out.with_name(f".{out.name}.partial")
    try:
        manifests.rewrite(partial, made, replace(manifest, lineage=lineage))
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
