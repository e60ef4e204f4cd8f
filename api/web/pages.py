"""Rendering: the templates, the words in them, and problems for people."""

from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api import browsers
from api.problems import Problem
from api.web import registry_rows, words

HERE = Path(__file__).parent
STATIC = HERE / "static"
NAVIGATION: Final = (
    ("Datasets", "/"),
    ("Registry", "/registry"),
    ("Models", "/models"),
    ("Jobs", "/jobs"),
)
CORNER: Final = (("Operations", "/operations"), ("Account", "/account"))

_path: ContextVar[str] = ContextVar("path", default="")


async def place(request: Request) -> None:
    """Keep where the reader is, for the links of the page. No plain function: those have a copy
    of the context, and what they set in it is lost."""
    _path.set(request.url.path)


def here(address: str) -> str:
    """What a link of the navigation carries where the reader is there, or at a page below."""
    path = _path.get()
    if path == address:
        return Markup(' aria-current="page"')
    below = path.startswith("/datasets" if address == "/" else f"{address}/")
    return Markup(' aria-current="true"') if below else ""


def _when(value: datetime | None) -> str:
    """A time in UTC, for `page.js` to bring to the reader's zone."""
    if value is None:
        return words.UNKNOWN
    return Markup('<time datetime="{}">{}</time>').format(iso(value), words.moment(value))


_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(
    duration=words.duration,
    percent=words.percent,
    share=words.share,
    left=words.left,
    count=words.count,
    size=words.size,
    kind=words.kind,
    stage=words.stage,
    trained_on=words.trained_on,
    moment=_when,
    called=words.called,
    space=registry_rows.space,
    origin=registry_rows.origin,
    own_accuracy=registry_rows.accuracy,
    points=registry_rows.points,
)
_templates.globals.update(
    signed=browsers.signed,
    csrf_token=browsers.csrf_token.get,
    navigation=NAVIGATION,
    corner=CORNER,
    here=here,
)


def wanted(request: Request) -> bool:
    """Whether the asker would rather see a page than JSON."""
    return "text/html" in request.headers.get("accept", "")


def render(name: str, *, status: int = 200, **context: Any) -> Response:
    """A page. Everything in it is escaped unless a picture drew it."""
    page = _templates.get_template(name).render(**context)
    return HTMLResponse(page, status_code=status, headers={"Cache-Control": "no-store"})


def problem(request: Request, found: Problem) -> Response:
    """The problem for people: a sentence, what to change, and a way back."""
    partial = request.headers.get("hx-request") == "true"
    page = render("problem.html", status=found.status, problem=found, partial=partial)
    for header, value in found.headers:
        page.headers[header] = value
    return page


def see(address: str) -> Response:
    """Sends the browser on after a form (303: a reload does not send the form again)."""
    return RedirectResponse(address, status_code=303)


def iso(moment: datetime) -> str:
    """A time for machines."""
    return moment.isoformat(timespec="seconds")
