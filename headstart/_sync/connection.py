"""One server: requests that are made again where that is safe, refusals as problems."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from headstart import problems
from headstart._sync import running
from headstart.operations import Operation
from headstart.patience import IDEMPOTENT, Patience
from headstart.problems import Problem, Unreachable
from headstart.profiles import Target

PAGE = 100
# What waits for hours waits through a restart, and through a longer outage.
OUTAGE = 600.0
SLOW = httpx.Timeout(30.0, read=None)  # the answer comes when all of it has been looked at
GONE = frozenset({404, 410})
LOST = frozenset({502, 504})  # by a gateway, whose server may have done what it was asked

Query = Mapping[str, Any]


class Connection:
    """What all resources stand on."""

    def __init__(
        self,
        target: Target,
        *,
        timeout: float,
        retry_for: float,
        allow_insecure: bool,
        transport: httpx.BaseTransport | None,
    ) -> None:
        self.target = target
        self.timeout = timeout
        self.retry_for = retry_for
        self._allow_insecure = allow_insecure
        if target.key is not None:
            self.trust("the key")
        headers = {} if target.key is None else {"Authorization": f"Bearer {target.key}"}
        self._http = httpx.Client(
            base_url=target.url,
            headers={"User-Agent": "headstart-client", **headers},
            timeout=timeout,
            transport=transport,
            # A proxy is for what is elsewhere, SSL_CERT_FILE for this machine, too.
            trust_env=not target.local,
            verify=httpx.create_ssl_context() if transport is None else True,
        )

    def trust(self, secret: str) -> None:
        """Raise Problem where others could read what is sent."""
        if not (self.target.private or self._allow_insecure):
            detail = (
                f"{self.target.url} is not reached by https, so that others could read {secret} "
                "on its way: use an https address, or say allow_insecure=True."
            )
            raise Problem(detail, code="readable_on_the_way")

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def call(self, operation: Operation, **options: Any) -> httpx.Response:
        """An operation: `ids` fill its address; what queues a job gets a key, the caller's or a
        new one, so that it is queued once however often its answer is lost."""
        path = address(operation, **options.pop("ids", {}))
        key = options.pop("idempotency_key", None)
        if operation.keyed:
            options["headers"] = {
                "Idempotency-Key": str(uuid4()) if key is None else key,
                **options.get("headers", {}),
            }
        return self.request(operation.method, path, **options)

    def json(self, operation: Operation, **options: Any) -> Any:
        """What an operation answers."""
        return parsed(self.call(operation, **options))

    def listed(
        self, operation: Operation, query: Query, *, ids: Mapping[str, object] | None = None
    ) -> Iterator[Any]:
        """Every item of a list, page by page as it is read."""
        asked = {"page_size": PAGE if operation.paged else None, **query}
        token: str | None = None
        while True:
            page = self.json(operation, query={**asked, "page_token": token}, ids=ids or {})
            for each in page["items"]:
                yield each
            token = page.get("next_page_token")
            if token is None:
                return

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        retry_for: float | None = None,
        again: bool = False,
        **options: Any,
    ) -> httpx.Response:
        """One request and its answer, asked again while that is safe and may help; `again` says
        that it is safe."""
        keyed = "idempotency-key" in map(str.lower, headers or ())
        again = again or keyed or method in IDEMPOTENT
        patience, lost = Patience(self.retry_for if retry_for is None else retry_for), False
        while True:
            try:
                with self.opened(method, path, query=query, headers=headers, **options) as answer:
                    answer.read()
                    return answer
            except Problem as problem:
                if method == "DELETE" and lost and problem.status in GONE:
                    return httpx.Response(204)  # by the try whose answer was lost
                lost |= isinstance(problem, Unreachable) or problem.status in LOST
                if not (again and problem.passing):
                    raise
                running.sleep(patience.pause(problem))

    @contextmanager
    def opened(
        self, method: str, path: str, *, query: Query | None = None, **options: Any
    ) -> Iterator[httpx.Response]:
        """An answer whose body is still to come, asked for once."""
        if not path.startswith("/") or path.startswith("//"):
            raise Problem(f"'{path}' is no path of {self.target.url}.", code="bad_path")
        given = {name: each for name, each in (query or {}).items() if each is not None}
        try:
            with self._http.stream(method, path, params=given, **options) as answer:
                if answer.is_success or answer.status_code == httpx.codes.NOT_MODIFIED:
                    yield answer
                    return
                answer.read()
                raise problems.of_answer(answer.status_code, answer.headers, _json(answer))
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self._silent(error) from error

    def _silent(self, error: httpx.RequestError) -> Unreachable:
        where = self.target.url
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            detail = f"The certificate of {where} is not trusted: name its CA in SSL_CERT_FILE."
            return Unreachable(detail, passing=False)
        if isinstance(error, httpx.ConnectError):
            said = f"No Headstart server answers at {where}: start one with `headstart serve`."
        else:
            said = f"The connection to {where} broke: {type(error).__name__}."
        lasting = isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol)
        return Unreachable(f"{said} HEADSTART_URL names another.", passing=not lasting)


def address(operation: Operation, **ids: object) -> str:
    """Where an operation is, each id escaped."""
    escaped = {name: quote(str(each), safe="") for name, each in ids.items()}
    return operation.path.format_map(escaped)


def parsed(answer: httpx.Response) -> Any:
    """The JSON of an answer."""
    found = _json(answer)
    if found is None:
        raise Problem("That server does not speak Headstart's language.", code="bad_answer")
    return found


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
