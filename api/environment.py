"""Settings for commands on this machine: what does not fit is told, never shown."""

from pydantic import ValidationError

from core.config import Settings
from headstart.problems import Problem
from headstart.schema import ProblemDetailView


def read_settings() -> Settings:
    """What the environment says. Raises Problem naming every variable that does not fit."""
    try:
        return Settings()
    except ValidationError as error:  # its own text shows the values, passwords among them
        wrong: list[ProblemDetailView] = [
            {"place": _variable(each["loc"]), "code": each["type"], "message": each["msg"]}
            for each in error.errors(include_input=False, include_url=False)
        ]
        raise Problem(
            "The settings in the environment are not acceptable.",
            code="invalid_settings",
            errors=wrong,
        ) from None


def _variable(place: tuple[int | str, ...]) -> str:
    """The environment variable of a setting; which kind of storage is no part of its name."""
    parts = [str(each) for each in place if each not in {"s3", "local"}]
    return f"HEADSTART_{'__'.join(parts).upper()}"
