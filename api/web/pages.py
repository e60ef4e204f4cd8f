"""Rendering: the templates, the words in them, and problems for people."""

from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.problems import Problem
from api.web import words

HERE = Path(__file__).parent
STATIC = HERE / "static"

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
    operation=words.operation,
    trained_on=words.trained_on,
    moment=words.moment,
    called=words.called,
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
