"""The REST API as the command line uses it: JSON out, or one `Refused` with a sentence."""

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx

DEFAULT_URL = "http://127.0.0.1:8765"
CHUNK = 1024 * 1024
PAGE = 100
WAIT = 20  # seconds that the server may take to answer when there is no news; less than a timeout
PAUSES = (0.5, 2.0, 5.0)  # seconds before a request whose answer was lost is made again
PASSING = frozenset({"unavailable", "idempotency_key_in_flight"})

Json = dict[str, Any]


class Refused(Exception):
    """The server, or the lack of one, said no: a sentence and a code to print.

    `passing` says that asking again may help, or that the answer was lost on its way.
    """

    def __init__(
        self, sentence: str, *, code: str, details: tuple[str, ...] = (), passing: bool = False
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
        self.details = details
        self.passing = passing or code in PASSING


class Remote:
    """One server."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def get(self, path: str, **query: str | int | None) -> Json:
        """A resource."""
        given = {name: value for name, value in query.items() if value is not None}
        return _json(self.ask("GET", path, params=given))

    def news(self, path: str, known: Json, tag: str | None) -> tuple[Json, str | None]:
        """A resource as soon as it is another than that of this tag, or after `WAIT` seconds as
        it is known; and its tag. Without one, as it is now."""
        headers = {} if tag is None else {"Prefer": f"wait={WAIT}", "If-None-Match": tag}
        answer = self.ask("GET", path, headers=headers)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return known, tag
        return _json(answer), answer.headers.get("etag")

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """Ask for work, of which `body` says what: for the same work again when the answer is
        lost, and the server makes it once. Without a body, a verb that is said once."""
        if body is None:
            return _json(self.ask("POST", path))
        request = {"json": body, "headers": {"Idempotency-Key": str(uuid4())}}
        for pause in PAUSES:
            try:
                return _json(self.ask("POST", path, **request))
            except Refused as refusal:
                if not refusal.passing:
                    raise
            time.sleep(pause)
        return _json(self.ask("POST", path, **request))

    def listed(self, path: str, **query: str | int | None) -> Iterator[Json]:
        """Every item of a paged list, fetched as it is read."""
        token: str | None = None
        while True:
            page = self.get(path, page_size=PAGE, page_token=token, **query)
            yield from page["items"]
            token = page["next_page_token"]
            if token is None:
                return

    def upload(
        self,
        archive: Path,
        *,
        sent: Callable[[int], None],
        address: str,
        name: str | None = None,
    ) -> Json:
        """Stream a file up; `sent` hears of every piece. Checked by its digest on arrival."""
        digest = base64.b64encode(_sha256(archive)).decode()
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(archive.stat().st_size),
            "Content-Digest": f"sha-256=:{digest}:",
        }
        params = {} if name is None else {"name": name}
        timeout = httpx.Timeout(30.0, read=None)  # the answer waits until every image is checked
        answer = self.ask(
            "POST",
            address,
            content=_pieces(archive, sent),
            params=params,
            headers=headers,
            timeout=timeout,
        )
        return _json(answer)

    def download(self, path: str, target: Path, *, sha256: str | None = None) -> None:
        """Fetch a file; it appears under its name only when whole and with the right checksum:
        the one given, else the one the server announces."""
        partial = target.with_name(f".{target.name}.partial")
        digest = hashlib.sha256()
        try:
            with self._http.stream("GET", path) as answer, partial.open("wb") as file:
                if answer.status_code >= httpx.codes.BAD_REQUEST:
                    answer.read()
                    raise _refused(answer)
                wanted = sha256 or _announced(answer)
                for chunk in answer.iter_bytes(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != wanted:
                raise Refused(f"{target.name} arrived damaged; try again.", code="corrupt_object")
            partial.replace(target)
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        finally:
            partial.unlink(missing_ok=True)

    def dataset(self, wanted: str) -> Json:
        """A dataset by id, by the start of its id, or by name."""
        try:
            return self.get(f"/v1/datasets/{UUID(wanted)}")
        except ValueError:
            pass
        found = list(self.listed("/v1/datasets"))
        matches = [each for each in found if each["name"] == wanted]
        if not matches and len(wanted) >= 4:
            matches = [each for each in found if each["id"].startswith(wanted.lower())]
        return _only(matches, wanted)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request, as the client library makes it. Raises Refused."""
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise _refused(answer)
        return answer

    def _silent(self, error: httpx.HTTPError) -> Refused:
        where = str(self._http.base_url).rstrip("/")
        unheard = isinstance(error, httpx.ConnectError)
        if unheard:
            sentence = f"No Headstart server answers at {where}: start one with `headstart serve`."
        else:
            sentence = f"The connection to {where} broke: {type(error).__name__}."
        said = f"{sentence} HEADSTART_URL names another."
        return Refused(said, code="unreachable", passing=not unheard)


def connect() -> httpx.Client:
    """A client for the server that HEADSTART_URL names, else the one on this machine."""
    url = os.environ.get("HEADSTART_URL", DEFAULT_URL)
    return httpx.Client(base_url=url, timeout=30.0, trust_env=False)


def path_of(*parts: str) -> str:
    """An address under /v1, each part escaped."""
    return "/v1/" + "/".join(quote(part, safe=":") for part in parts)


def _only(matches: list[Json], wanted: str) -> Json:
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise Refused(f"There is no dataset called '{wanted}', nor one whose id starts so.",
                      code="not_found")  # fmt: skip
    listed = ", ".join(f"{each['name']} ({each['id']})" for each in matches[:5])
    raise Refused(f"'{wanted}' could be any of {listed}: use an id.", code="ambiguous")


def _json(answer: httpx.Response) -> Json:
    try:
        body = answer.json()
    except json.JSONDecodeError as error:
        raise Refused(
            "That server does not speak Headstart's language.", code="bad_answer"
        ) from error
    return body if isinstance(body, dict) else {"items": body}


def _refused(answer: httpx.Response) -> Refused:
    try:
        problem = answer.json()
        details = tuple(
            f"{each['place']}: {each['message']}" for each in problem.get("errors", [])
        )
        return Refused(problem["detail"], code=problem["code"], details=details)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return Refused(f"The server answered {answer.status_code}.", code="bad_answer")


def _announced(answer: httpx.Response) -> str:
    """The SHA-256 of a Content-Digest (RFC 9530) that is spelled as this service does."""
    encoded = answer.headers.get("content-digest", "").removeprefix("sha-256=:").removesuffix(":")
    try:
        return base64.b64decode(encoded, validate=True).hex()
    except ValueError:
        return ""


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _pieces(path: Path, sent: Callable[[int], None]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece
            sent(len(piece))
