"""`headstart datasets`: what is registered, its versions, and its end."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api import terminal
from headstart.problems import Problem
from headstart.schema import DatasetView, DifferenceView, ImageBody, VersionView

app = typer.Typer(
    name="datasets",
    help="Registered datasets: list, compare versions, make one without some images, delete.",
    no_args_is_help=True,
)

DatasetArgument = Annotated[
    str,
    typer.Argument(
        help="A dataset's id, unique id prefix, or name.", autocompletion=terminal.dataset_names
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")]
SHOWN = 10  # images of each kind of change


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """Show the datasets, newest first."""
    with terminal.server() as client:
        found = list(client.datasets.list())
    if as_json:
        terminal.show_json({"items": found})
        return
    headings = ("dataset", "name", "version", "classes", "images", "licence")
    terminal.show_table(headings, [_row(each) for each in found])


@app.command()
def versions(dataset: DatasetArgument, as_json: AsJson = False) -> None:
    """Show what a dataset came of and what came of it."""
    with terminal.server() as client:
        found = client.datasets.versions(dataset)
    if as_json:
        terminal.show_json({"items": found})
        return
    numbers: dict[str | None, int] = {each["id"]: each["version"] for each in found}
    rows = [
        (
            each["id"],
            each["version"],
            numbers.get(each["parent_id"], ""),
            each["name"],
            _images(each),
            "deleted" if each["deleted_at"] else "",
        )
        for each in found
    ]
    terminal.show_table(("dataset", "version", "came of", "name", "images", ""), rows)


@app.command()
def diff(
    dataset: DatasetArgument,
    against: Annotated[
        str | None, typer.Option(help="The earlier one; else the version that it came of.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what changed from an earlier dataset to this one."""
    with terminal.server() as client:
        later = client.datasets.find(dataset)
        earlier = later["parent_id"] if against is None else against
        if earlier is None:
            detail = f"'{later['name']}' is a first version: name another dataset, --against."
            raise Problem(detail, code="first_version")
        found = client.datasets.diff(later["id"], against=earlier)
    if as_json:
        terminal.show_json(found)
        return
    _show_difference(found)


@app.command("leave-out")
def leave_out(
    dataset: DatasetArgument,
    images: Annotated[
        list[str], typer.Argument(help="As train:12 or test:3: places in a split, from 0.")
    ],
    name: Annotated[str | None, typer.Option(help="What to call it; else as before.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the next version of a dataset, without some of its images."""
    places = [_image(each) for each in images]
    with terminal.server() as client:
        asked = client.datasets.leave_out(dataset, places, name=name)
        job = terminal.watch(client, asked.view) if wait else asked.view
    if as_json:
        terminal.show_json(job)
    elif wait:
        terminal.out.print(f"dataset {(job['result'] or {})['dataset_id']}")
    else:
        terminal.out.print(f"job {job['id']}")


@app.command()
def rm(
    dataset: DatasetArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a dataset: its images, and all that was computed from them to compare it with others.

    Models and supernets made of it stay.
    """
    if as_json and not yes:
        raise typer.BadParameter("nobody is asked with --json: give --yes", param_hint="--json")
    with terminal.server() as client:
        found = client.datasets.find(dataset)
        asked = f"Delete '{found['name']}' ({found['id']}), {_images(found)} images, for good?"
        if not yes and not typer.confirm(asked):
            raise typer.Exit(1)
        whole = client.datasets.delete(found["id"])
    if as_json:
        terminal.show_json({"deleted": found["id"], "files_gone": whole})
    else:
        terminal.out.print("deleted" if whole else "deleted; its files go when the store answers")


def _image(said: str) -> ImageBody:
    split, _, index = said.partition(":")
    if split == "train" and index.isdecimal():
        return {"split": "train", "index": int(index)}
    if split == "test" and index.isdecimal():
        return {"split": "test", "index": int(index)}
    raise typer.BadParameter(f"'{said}' names no image: write train:12 or test:3.")


def _row(dataset: DatasetView) -> tuple[object, ...]:
    named = dataset["id"], dataset["name"], dataset["version"], len(dataset["classes"])
    return (*named, _images(dataset), dataset["licence"] or "")


def _images(dataset: DatasetView | VersionView) -> int:
    return dataset["n_train"] + dataset["n_test"]


def _show_difference(difference: DifferenceView) -> None:
    found: Mapping[str, Any] = difference
    rows = [("unchanged", found["unchanged"])]
    names = {
        "added": "added",
        "removed": "removed",
        "relabelled": "in another class",
        "resplit": "in another split",
    }
    rows += [(words, found[name]["total"]) for name, words in names.items()]
    terminal.show_table(("images", ""), rows)
    changed = [each for each in found["classes"] if each["before"] != each["after"]]
    if changed:
        counts = [
            (each["label"], _count(each["before"]), _count(each["after"])) for each in changed
        ]
        terminal.show_table(("class", "before", "after"), counts)
    for name, words in names.items():
        first = found[name]["first"][:SHOWN]
        for each in first:
            terminal.out.print(f"{words}: {_place(each)}", markup=False)
        if found[name]["total"] > len(first):
            terminal.out.print(f"and {found[name]['total'] - len(first)} more {words}")


def _count(pair: list[int] | None) -> str:
    return "none" if pair is None else f"{pair[0]} + {pair[1]}"


def _place(change: Mapping[str, Any]) -> str:
    if "before" not in change:
        return f"{change['path']} ({change['label']}, {change['split']})"
    before, after = change["before"], change["after"]
    ends = [f"{each['label']}, {each['split']}" for each in (before, after)]
    return f"{after['path']} ({' → '.join(ends)})"
