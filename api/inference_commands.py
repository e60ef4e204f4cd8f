"""`headstart predict`: what a finished model takes images for."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from api import terminal
from api.web import words
from headstart.problems import Problem
from headstart.schema import PredictionView

OF_ONE_IMAGE = frozenset({"bad_image", "image_too_large", "empty_body", "too_large"})


def predict(
    model: Annotated[UUID, typer.Argument(help="A model's id, as `headstart models` lists it.")],
    images: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True)],
    top: Annotated[int, typer.Option(min=1, max=1000, help="Classes of each image.")] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, by the images' names.")
    ] = False,
) -> None:
    """Ask a model, as it is at the server, for the likeliest classes of images."""
    found: dict[str, PredictionView] = {}
    with terminal.server() as client:
        for image in images:
            try:
                found[str(image)] = client.models.predict(str(model), image, top=top)
            except Problem as problem:
                if problem.code not in OF_ONE_IMAGE:
                    raise
                terminal.err.print(f"{image}:", markup=False)
                terminal.show_problem(problem)
    if as_json:
        terminal.show_json(found)
    elif found:
        terminal.show_table(
            ("image", "class", "probability"),
            [
                ("" if place else name, each["name"], words.percent(each["probability"]))
                for name, told in found.items()
                for place, each in enumerate(told["classes"])
            ],
        )
    if len(found) < len(images):
        raise typer.Exit(1)
