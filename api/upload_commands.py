"""`headstart upload`: images from this machine become a dataset of the service."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

import headstart
from api import s3_orders, terminal
from headstart import folders
from headstart.schema import FindingView, ReportView, S3Body


def _existing(places: list[str]) -> list[str]:
    for place in places:
        if not place.startswith(s3_orders.SCHEME) and not os.access(place, os.R_OK):
            raise typer.BadParameter(f"Path '{place}' does not exist or cannot be read.")
    return places


def upload(
    images: Annotated[
        list[str],
        typer.Argument(
            callback=_existing,
            help="An archive or a folder of images, or s3://BUCKET/KEY, or several that are one "
            "dataset. An object is fetched by the service, with this shell's AWS credentials.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call it; else the file's name.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw of a test split.")] = None,
    test_share: Annotated[
        float | None,
        typer.Option(help="Of each class, where no test split is given.", show_default="0.2"),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Keep together by a table's column, or by names: prefix:_ up to a '_'."),
    ] = None,
    unreadable_share: Annotated[
        float | None,
        typer.Option(help="Of the images may be left out as unreadable.", show_default="0.01"),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="The table's column that names the class.", show_default="label"),
    ] = None,
    s3_endpoint: Annotated[
        str | None,
        typer.Option(
            "--s3-endpoint",
            help="Where s3:// is, if not in AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or at Amazon; "
            "the service reaches those that its operator lists.",
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of the images, such as CC-BY-4.0.")] = None,
    source: Annotated[str | None, typer.Option(help="Where they are from.")] = None,
    version_of: Annotated[
        str | None,
        typer.Option(
            help="The dataset that this is the next version of: id, prefix, or name.",
            autocompletion=terminal.dataset_names,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the service's answer as it is.")
    ] = False,
) -> None:
    """Upload images in folders of their classes, or with a table of them; goes on where it was
    when the connection breaks."""
    options = terminal.given(
        seed=seed,
        test_share=test_share,
        group=group,
        unreadable_share=unreadable_share,
        label=label,
        licence=licence,
        source=source,
    )
    orders = [
        s3_orders.order(each, s3_endpoint) for each in images if each.startswith(s3_orders.SCHEME)
    ]
    here = [Path(each) for each in images if not each.startswith(s3_orders.SCHEME)]
    called = name or folders.title(here[0] if here else Path(images[0].rsplit("/", 1)[1]))
    with terminal.server() as client:
        if version_of is not None:
            options["parent_id"] = client.datasets.find(version_of)["id"]
        fetched = [_fetched(client, order) for order in orders]
        dataset = terminal.upload(client, here, name=called, uploads=fetched, **options)
    if as_json:
        terminal.show_json(dataset)
        return
    terminal.out.print(f"dataset {dataset['id']}")
    classes, train, test = len(dataset["classes"]), dataset["n_train"], dataset["n_test"]
    terminal.out.print(f"{classes} classes, {train} training and {test} test images", markup=False)
    _show_findings(dataset["report"])


def _fetched(client: headstart.Client, order: S3Body) -> str:
    with terminal.err.status(f"the service fetches {escape(order['uri'])}"):
        return client.uploads.fetch(**order)["id"]


def _show_findings(report: ReportView) -> None:
    """Kind by kind: how many, the first of them, and what to do."""
    first: dict[str, FindingView] = {}
    for problem in report["problems"]:
        first.setdefault(problem["code"], problem)
    rows = [
        (str(report["findings"].get(code, "")), each["place"], each["message"], each["fix"])
        for code, each in first.items()
    ]
    if rows:
        terminal.show_table(("", "the first", "what was found", "what to do"), rows)
