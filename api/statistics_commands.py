"""`headstart statistics` and `headstart register-statistics`: sources that keep their images."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from api import terminal
from headstart import folders
from headstart.problems import Problem

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
FEW = 5  # images of a class below which its mean nearly is an image


def write(
    images: Annotated[
        Path, typer.Argument(exists=True, help="An archive, or a folder with one per class.")
    ],
    out: Annotated[Path, typer.Option(help="The safetensors file to write.", dir_okay=False)],
    embedder: Annotated[
        str | None, typer.Option(help="As GET /v1/embedders names it; else the default one.")
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Number the classes instead of naming them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Reduce images to class statistics here, to register without handing the images over."""
    try:
        # Here, and only when it is called for: no other command of a client needs torch.
        from api import environment
        from core.execution import owned_images
    except ImportError as error:
        raise Problem(
            "This computes: install headstart-nas[worker] to have what it takes.",
            code="not_installed",
        ) from error
    settings = environment.read_settings()
    with (
        tempfile.TemporaryDirectory(prefix="headstart-") as scratch,
        folders.as_archive(images) as archive,
    ):
        counts = owned_images.reduce(
            archive,
            out,
            scratch=Path(scratch),
            settings=settings,
            embedder=embedder or settings.embedder,
            anonymous=anonymous,
        )
    if as_json:
        terminal.show_json({"file": str(out), "images": dict(counts)})
        return
    terminal.out.print(str(out), markup=False)
    terminal.out.print(f"{len(counts)} classes, {sum(counts.values())} images")
    few = [name for name, count in counts.items() if count < FEW]
    if few:
        terminal.err.print(
            f"Fewer than {FEW} images stand behind {', '.join(few[:5])}: what is said of such a "
            "class says nearly all of each image's features.",
            markup=False,
        )


def register(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    name: Annotated[str, typer.Option(help="What to call the dataset.")],
    as_json: AsJson = False,
) -> None:
    """Register a dataset by a file of class statistics; its images stay where they are."""
    with terminal.server() as client, terminal.transfer() as sent:
        dataset = client.datasets.register_statistics(file, name=name, progress=sent)
    if as_json:
        terminal.show_json(dataset)
        return
    terminal.out.print(f"dataset {dataset['id']}")
    terminal.out.print(f"{len(dataset['classes'])} classes, by statistics only")
