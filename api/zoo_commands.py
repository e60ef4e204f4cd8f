"""`headstart zoo`: supernets that come with the package, or in a file."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from api import remote, terminal, zoo_building
from api.remote import Json, Refused, Remote, path_of
from api.web import words
from core.data import bundle as files
from core.data.manifests import Manifest
from core.errors import AppError
from core.pipelines import objects
from core.zoo import shipped

app = typer.Typer(
    name="zoo",
    help="Pretrained supernets in files: those of the package, and yours.",
    no_args_is_help=True,
)

ADDRESS = "/v1/supernets:import"

app.command("build")(zoo_building.build)


def registered() -> None:
    """Show the supernets that a search can start from."""
    with remote.connect() as http:
        rows = [
            (
                each["id"],
                each["name"],
                words.trained_on(each["lineage"]),
                each["resolution"],
                words.duration(each["seconds"]),
            )
            for each in Remote(http).listed(path_of("supernets"))
        ]
    terminal.show_table(("supernet", "name", "trained on", "pixels", "training"), rows)


@app.command("list")
def show() -> None:
    """Show the supernets that come with the package, and whether the service has them."""
    with remote.connect() as http:
        known = {each["sha256"]: each["id"] for each in Remote(http).listed(path_of("supernets"))}
    rows = []
    for each in shipped.bundles():
        with each.file() as path:
            here = known.get(objects.checksum(path), "no")
            rows.append((each.name, *_row(path), here))
    if not rows:
        terminal.out.print("No supernet comes with this package.")
        return
    terminal.show_table(("bundle", "trained on", "pixels", "size", "installed"), rows)


@app.command()
def install(
    name: Annotated[str | None, typer.Argument(help="As `zoo list` names it; else all.")] = None,
) -> None:
    """Register supernets of the package with the service."""
    chosen = [each for each in shipped.bundles() if name in (None, each.name)]
    if not chosen:
        raise Refused(_absent(name), code="not_found")
    for each in chosen:
        with each.file() as path:
            _send(path)


@app.command("import")
def enter(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
) -> None:
    """Register the supernet in a file with the service."""
    _send(file)


@app.command()
def export(
    supernet: Annotated[UUID, typer.Argument(help="A supernet's id.")],
    file: Annotated[Path, typer.Argument(help="The safetensors file to write.", dir_okay=False)],
) -> None:
    """Write a supernet of the service to a file, for another service to import."""
    with remote.connect() as http:
        Remote(http).download(path_of("supernets", str(supernet), "bundle"), file)
    terminal.out.print(str(file), markup=False)


def _send(file: Path) -> Json:
    with remote.connect() as http, terminal.transfer(file.stat().st_size) as bar:
        task = bar.task_ids[0]
        made = Remote(http).upload(
            file, sent=lambda size: bar.advance(task, size), address=ADDRESS
        )
    terminal.out.print(f"supernet {made['id']}")
    terminal.out.print(f"{made['name']}: {words.trained_on(made['lineage'])}", markup=False)
    return made


def _row(path: Path) -> tuple[str, str, str]:
    size = words.size(path.stat().st_size)
    try:
        manifest: Manifest = files.read(path).manifest
    except AppError as error:
        return error.message, "", size
    return words.trained_on(manifest.lineage), str(manifest.resolution), size


def _absent(name: str | None) -> str:
    named = ", ".join(each.name for each in shipped.bundles())
    if name is None or not named:
        return "No supernet comes with this package."
    return f"The package has no supernet '{name}'; it has: {named}."
