"""`headstart login` and `headstart profiles`: servers and their keys, kept for later commands."""

import sys
from typing import Annotated

import typer

import headstart
from api import terminal
from headstart import profiles
from headstart.profiles import DEFAULT_PROFILE, Target

app = typer.Typer(
    name="profiles", help="Servers that were logged in to: list, forget.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def login(
    url: Annotated[
        str | None, typer.Option(help="The server; else the profile's, HEADSTART_URL's, or here.")
    ] = None,
    name: Annotated[
        str, typer.Option("--as", help="What to call this server and key.")
    ] = DEFAULT_PROFILE,
    as_json: AsJson = False,
) -> None:
    """Keep a server and a key for it, once the server has taken them.

    The key is asked for, or read from a pipe: `headstart login --url URL < key.txt`.
    """
    kept = profiles.read()
    known = kept.get(name)
    at = url or (known.url if known else None)
    key = typer.prompt("API key", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    with headstart.Client(at, key.strip() or None, retry_for=terminal.RETRY_FOR) as client:
        me = client.me()
        target = Target(client.url, key.strip() or None)
    where = profiles.write({**kept, name: target})
    if as_json:
        terminal.show_json({"name": name, "url": target.url, "file": str(where)} | dict(me))
        return
    terminal.out.print(f"{name} {target.url}", markup=False)
    terminal.out.print(f"project {me['project']}, may {me['scope']}", markup=False)
    terminal.out.print(f"kept in {where}", markup=False)


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """Show what is kept; never a key."""
    kept = profiles.read()
    if as_json:
        items = [
            {"name": name, "url": each.url, "key": each.key is not None}
            for name, each in kept.items()
        ]
        terminal.show_json({"items": items})
        return
    rows = [(name, each.url, "a key" if each.key else "no key") for name, each in kept.items()]
    terminal.show_table(("profile", "server", ""), rows)


@app.command()
def rm(
    name: Annotated[str, typer.Argument(help="As `profiles list` names it.")],
    as_json: AsJson = False,
) -> None:
    """Forget a server and its key; the key itself goes on until it is revoked."""
    kept = profiles.read()
    if name not in kept:
        raise headstart.NotFound(f"There is no profile '{name}'.", code="unknown_profile")
    del kept[name]
    profiles.write(kept)
    if as_json:
        terminal.show_json({"forgotten": name})
    else:
        terminal.out.print(f"forgot {name}", markup=False)
