"""What is committed of the contract: `docs/openapi.json`, and all codes in `docs/problems.md`.

`python -m api.openapi --write` renews both, and what of the client is made of them; it refuses
what would break clients until `docs/openapi-changes.md` says so.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from api import breaking, client_code
from api.app import described
from api.codes import CODES, JOB_CODES

DOCS: Final = Path(__file__).parents[1] / "docs"
COMMITTED, CHANGES = DOCS / "openapi.json", DOCS / "openapi-changes.md"
TABLE = DOCS / "problems.md"
HEAD: Final = """\
# Problem codes

Made from `api/codes.py` by `python -m api.openapi --write`. A code keeps its meaning and its
status; new ones may come. A job that fails has one of these as its `error_code`: one without a
status, or what an answer would have said.

| code | status | meaning |
|---|---|---|
"""
Json = dict[str, Any]


def written(found: Json) -> str:
    """The document as it is committed: of no version, so that releases alone change nothing."""
    shown = {**found, "info": {**found["info"], "version": "0"}}
    return json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def tabled() -> str:
    """The catalogue of codes, by status."""
    found = sorted((known.status, code, known.sentence) for code, known in CODES.items())
    rows = [(code, str(status), sentence) for status, code, sentence in found]
    rows += [(code, "", sentence) for code, sentence in JOB_CODES.items()]
    return HEAD + "".join(f"| `{code}` | {status} | {words} |\n" for code, status, words in rows)


def unannounced(old: Json, new: Json, changes: str) -> list[str]:
    """What would break clients, and is no line of the list of changes."""
    listed = {line.removeprefix("- ").strip() for line in changes.splitlines()}
    return [each for each in breaking.breaks(old, new) if each not in listed]


def main(arguments: list[str]) -> str | None:
    """Renew what is committed; the reason why not."""
    if arguments != ["--write"]:
        return "usage: python -m api.openapi --write"
    new = described().openapi()
    if COMMITTED.exists():
        old = json.loads(COMMITTED.read_text("utf-8"))
        left = unannounced(old, new, CHANGES.read_text("utf-8"))
        if left:
            return "\n".join([f"These break clients; list them in {CHANGES}:", *left])
    COMMITTED.write_text(written(new), "utf-8")
    TABLE.write_text(tabled(), "utf-8")
    client_code.write()
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
