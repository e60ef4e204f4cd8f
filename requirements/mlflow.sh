#!/usr/bin/env bash
# Provides the MLflow server that a test tells of searches, apart from .venv's own packages. Never
# fails: without it, that test is skipped (in CI it fails and says why).
set -uo pipefail
cd "$(dirname "$0")/.."
pins=requirements/mlflow/requirements.txt
there=.venv/mlflow
mark=$there/$(cksum <"$pins" | tr ' ' -)

[[ -e $mark ]] && exit 0
echo "Providing an MLflow server for the tests..." >&2
uv=$(command -v .venv/bin/uv || command -v uv)
"$uv" venv --quiet --clear --python .venv/bin/python "$there" </dev/null >&2 &&
    "$uv" pip install --quiet --no-deps --python "$there/bin/python" -r "$pins" >&2 &&
    touch "$mark"
[[ -e $mark ]] || echo "The MLflow server could not be installed: uv and a package index are needed." >&2
exit 0
