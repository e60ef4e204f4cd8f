#!/usr/bin/env bash
# Provides the generators of clients that the tests try the interface's description with, apart from
# .venv's own packages. Never fails: without them, those tests are skipped (in CI they fail and say why).
set -uo pipefail
cd "$(dirname "$0")/.."
pins=requirements/generators
there=.venv/generators
mark=$there/$(cat "$pins"/* | cksum | tr ' ' -)

[[ -e $mark ]] && exit 0
echo "Providing generators of clients for the tests..." >&2
uv=$(command -v .venv/bin/uv || command -v uv)
mkdir -p "$there" && cp "$pins"/package*.json "$there" &&
    "$uv" venv --quiet --clear --python .venv/bin/python "$there/python" </dev/null >&2 &&
    "$uv" pip install --quiet --python "$there/python/bin/python" -r "$pins/requirements.txt" >&2 &&
    timeout 300 npm --prefix "$there" ci --no-audit --no-fund --silent </dev/null >&2 &&
    touch "$mark"
[[ -e $mark ]] || echo "The generators could not be installed: uv, node and npm are needed." >&2
exit 0
