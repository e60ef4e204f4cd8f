"""The committed OpenAPI document, `docs/openapi.json`: `python -m api.openapi --write` renews it.

That refuses what would break clients until `docs/openapi-changes.md` says so.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from api import breaking
from api.app import described

DOCS: Final = Path(__file__).parents[1] / "docs"
COMMITTED, CHANGES = DOCS / "openapi.json", DOCS / "openapi-changes.md"
Json = dict[str, Any]


def written(found: Json) -> str:
    """The document as it is committed: of no version, so that releases alone change nothing."""
    shown = {**found, "info": {**found["info"], "version": "0"}}
    return json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def unannounced(old: Json, new: Json, changes: str) -> list[str]:
    """What would break clients, and is no line of the list of changes."""
    listed = {line.removeprefix("- ").strip() for line in changes.splitlines()}
    return [each for each in breaking.breaks(old, new) if each not in listed]


def main(arguments: list[str]) -> str | None:
    """Renew the committed document; the reason why not."""
    if arguments != ["--write"]:
        return "usage: python -m api.openapi --write"
    new = described().openapi()
    if COMMITTED.exists():
        old = json.loads(COMMITTED.read_text("utf-8"))
        left = unannounced(old, new, CHANGES.read_text("utf-8"))
        if left:
            return "\n".join([f"These break clients; list them in {CHANGES}:", *left])
    COMMITTED.write_text(written(new), "utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
