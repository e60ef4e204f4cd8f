"""Problems as the API tells them (RFC 9457)."""

from typing import Annotated

from pydantic import Field

from api.views.shapes import View


class ProblemDetailView(View):
    """One of several things wrong: where, which kind, and what to do about it."""

    place: Annotated[str, Field(description="`training.epochs`, `query.name`, a file's name.")]
    code: str
    message: str


class ProblemView(View):
    """Why a request was refused, or failed: `title` and `detail` for people, `code` and `errors`
    for programs. Codes keep their meaning; new ones may come."""

    type: Annotated[str, Field(description="`urn:headstart:problem:` and the code.")]
    title: Annotated[str, Field(description="The status in words.")]
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    errors: list[ProblemDetailView]
    instance: Annotated[
        str | None, Field(description="`urn:headstart:request:` and the request's `X-Request-Id`.")
    ] = None
    error: Annotated[
        str | None, Field(description="Under `/v2`: the `detail`, as its protocol calls it.")
    ] = None
