"""Logging in: a key is shown once, and the browser is known by its cookie from then on."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from api import browsers
from api.web import pages
from core.bootstrap import Container
from core.errors import Unauthenticated
from core.services import api_keys, browser_sessions

router = APIRouter()

LONGEST_KEY, LONGEST_ADDRESS = 200, 2_000


@router.get(browsers.LOGIN)
def ask(request: Request) -> Response:
    """The form, which goes on to where the visitor wanted to be."""
    if request.app.state.container.settings.auth == "none":
        return pages.see("/")
    return pages.render("login.html", next=request.query_params.get("next", "/"), refused=None)


@router.post(browsers.LOGIN)
def log_in(
    request: Request,
    key: Annotated[str, Form(max_length=LONGEST_KEY)] = "",
    to: Annotated[str, Form(alias="next", max_length=LONGEST_ADDRESS)] = "/",
) -> Response:
    """Give the browser a cookie for 12 hours, or for as long as the key is good."""
    container: Container = request.app.state.container  # of no project yet
    try:
        with container.sessions.begin() as session:
            identity = api_keys.identify(session, key.strip())
            token = browser_sessions.begin(session, identity.key_id or "")
    except Unauthenticated as refused:
        return pages.render("login.html", status=401, next=to, refused=refused.message)
    request.state.identity = identity  # for the audit log
    answer = pages.see(browsers.local(to))
    browsers.remember(request, answer, token)
    return answer


@router.post("/logout")
def log_out(request: Request) -> Response:
    """Forget the browser; its key is as good as before."""
    container: Container = request.app.state.container
    if cookie := browsers.cookie_of(request):
        with container.sessions.begin() as session:
            browser_sessions.end(session, cookie)
        request.app.state.recogniser.forget(cookie)
    answer = pages.see(browsers.LOGIN)
    browsers.forget(request, answer)
    return answer
