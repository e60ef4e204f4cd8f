"""Which commands there are: a client's at once, those of the service when one of them is named.

So a client needs nothing that only the service needs, and waits for nothing of it.
"""

from importlib import import_module
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup
from typer.main import get_command

from headstart.problems import Problem

SERVICE = (
    "serve",
    "worker",
    "migrate",
    "doctor",
    "gc",
    "verify",
    "restored",
    "audit",
    "projects",
    "keys",
)


class Commands(TyperGroup):
    """A client's commands, and after them the service's."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, as help and completion show them."""
        return [*super().list_commands(ctx), *SERVICE]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or None."""
        if cmd_name not in SERVICE:
            return super().get_command(ctx, cmd_name)
        try:
            service: Any = get_command(import_module("api.service_commands").app)
        except ImportError as error:
            return _absent(cmd_name, error)
        return service.get_command(ctx, cmd_name)


def _absent(name: str, error: ImportError) -> Any:
    """A command that only says what it needs, whatever it is given."""
    alone = typer.Typer(add_completion=False)

    @alone.command(
        name,
        help=escape("Needs headstart-nas[service]."),
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def refuse() -> None:
        message = f"This is the service's: install headstart-nas[service] to have it ({error})."
        raise Problem(message, code="not_installed") from error

    return get_command(alone)
