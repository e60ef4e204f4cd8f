"""`headstart datasets`: what is registered, its versions, and its end."""

from typing import Annotated

import typer

from api import remote, terminal
from api.remote import Json, Refused, Remote, path_of

app = typer.Typer(
    name="datasets",
    help="Registered datasets: list, compare versions, delete.",
    no_args_is_help=True,
)

DatasetArgument = Annotated[str, typer.Argument(help="A dataset's id, unique id prefix, or name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")]
SHOWN = 10  # images of each kind of change


@app.command("list")
def show() -> None:
    """Show the datasets, newest first."""
    with remote.connect() as http:
        rows = [_row(each) for each in Remote(http).listed(path_of("datasets"))]
    headings = ("dataset", "name", "version", "classes", "images", "licence")
    terminal.show_table(headings, rows)


@app.command()
def versions(dataset: DatasetArgument, as_json: AsJson = False) -> None:
    """Show what a dataset came of and what came of it."""
    with remote.connect() as http:
        server = Remote(http)
        found = server.get(path_of("datasets", server.dataset(dataset)["id"], "versions"))
    if as_json:
        terminal.show_json(found)
        return
    numbers = {each["id"]: each["version"] for each in found["items"]}
    rows = [
        (
            each["id"],
            each["version"],
            numbers.get(each["parent_id"], ""),
            each["name"],
            _images(each),
            "deleted" if each["deleted_at"] else "",
        )
        for each in found["items"]
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
    with remote.connect() as http:
        server = Remote(http)
        later = server.dataset(dataset)
        earlier = later["parent_id"] if against is None else server.dataset(against)["id"]
        if earlier is None:
            sentence = f"'{later['name']}' is a first version: name another dataset, --against."
            raise Refused(sentence, code="first_version")
        found = server.get(path_of("datasets", later["id"], "diff"), against=earlier)
    if as_json:
        terminal.show_json(found)
        return
    _show_difference(found)


@app.command()
def rm(
    dataset: DatasetArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a dataset: its images, and all that was computed from them to compare it with others.

    Models and supernets made of it stay.
    """
    with remote.connect() as http:
        server = Remote(http)
        found = server.dataset(dataset)
        asked = f"Delete '{found['name']}' ({found['id']}), {_images(found)} images, for good?"
        if not yes and not typer.confirm(asked):
            raise typer.Exit(1)
        answer = server.ask("DELETE", path_of("datasets", found["id"]))
    later = answer.status_code != 204
    terminal.out.print("deleted; its files go when the store answers" if later else "deleted")


def _row(dataset: Json) -> tuple[object, ...]:
    named = dataset["id"], dataset["name"], dataset["version"], len(dataset["classes"])
    return (*named, _images(dataset), dataset["licence"] or "")


def _images(dataset: Json) -> int:
    images: int = dataset["n_train"] + dataset["n_test"]
    return images


def _show_difference(found: Json) -> None:
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


def _place(change: Json) -> str:
    if "before" not in change:
        return f"{change['path']} ({change['label']}, {change['split']})"
    before, after = change["before"], change["after"]
    ends = [f"{each['label']}, {each['split']}" for each in (before, after)]
    return f"{after['path']} ({' → '.join(ends)})"
