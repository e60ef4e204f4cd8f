"""`headstart zoo`: supernets that come with the package, or in a file."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

import headstart
from api import terminal, zoo_building
from api.web import words
from core.data import manifests
from core.errors import AppError
from core.pipelines import objects
from core.zoo import shipped
from headstart.problems import Problem
from headstart.schema import SupernetView

app = typer.Typer(
    name="zoo",
    help="Pretrained supernets in files: those of the package, and yours.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

app.command("build")(zoo_building.build)


def registered(as_json: AsJson = False) -> None:
    """Show the supernets that a search can start from."""
    with terminal.server() as client:
        found = list(client.supernets.list())
    if as_json:
        terminal.show_json({"items": found})
        return
    rows = [
        (
            each["id"],
            each["name"],
            words.trained_on(each["lineage"]),
            each["resolution"],
            words.duration(each["seconds"]),
        )
        for each in found
    ]
    terminal.show_table(("supernet", "name", "trained on", "pixels", "training"), rows)


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """Show the supernets that come with the package, and whether the service has them."""
    with terminal.server() as client:
        known = {each["sha256"]: each["id"] for each in client.supernets.list()}
    rows = []
    for each in shipped.bundles():
        with each.file() as path:
            here = known.get(objects.checksum(path), "no")
            rows.append((each.name, *_row(path), here))
    headings = ("bundle", "trained on", "pixels", "size", "installed")
    if as_json:
        terminal.show_json({"items": [dict(zip(headings, row, strict=True)) for row in rows]})
    elif not rows:
        terminal.out.print("No supernet comes with this package.")
    else:
        terminal.show_table(headings, rows)


@app.command()
def install(
    name: Annotated[str | None, typer.Argument(help="As `zoo list` names it; else all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register supernets of the package with the service."""
    chosen = [each for each in shipped.bundles() if name in (None, each.name)]
    if not chosen:
        raise Problem(_absent(name), code="not_found")
    made = []
    with terminal.server() as client:
        for each in chosen:
            with each.file() as path:
                made.append(_sent(client, path, quiet=as_json))
    if as_json:
        terminal.show_json({"items": made})


@app.command("import")
def enter(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    as_json: AsJson = False,
) -> None:
    """Register the supernet in a file with the service."""
    with terminal.server() as client:
        made = _sent(client, file, quiet=as_json)
    if as_json:
        terminal.show_json(made)


@app.command()
def export(
    supernet: Annotated[UUID, typer.Argument(help="A supernet's id.")],
    file: Annotated[Path, typer.Argument(help="The safetensors file to write.", dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Write a supernet of the service to a file, for another service to import."""
    with terminal.server() as client, terminal.transfer("downloading") as sent:
        client.supernets.export(str(supernet), file, progress=sent)
    if as_json:
        terminal.show_json({"file": str(file)})
    else:
        terminal.out.print(str(file), markup=False)


def _sent(client: headstart.Client, file: Path, *, quiet: bool) -> SupernetView:
    with terminal.transfer() as sent:
        made = client.supernets.add(file, progress=sent)
    if not quiet:
        terminal.out.print(f"supernet {made['id']}")
        terminal.out.print(f"{made['name']}: {words.trained_on(made['lineage'])}", markup=False)
    return made


def _row(path: Path) -> tuple[str, str, str]:
    size = words.size(path.stat().st_size)
    try:
        manifest, _ = manifests.read(path)
    except AppError as error:
        return error.message, "", size
    return words.trained_on(manifest.lineage), str(manifest.resolution), size


def _absent(name: str | None) -> str:
    named = ", ".join(each.name for each in shipped.bundles())
    if name is None or not named:
        return "No supernet comes with this package."
    return f"The package has no supernet '{name}'; it has: {named}."
