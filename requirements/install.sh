#!/usr/bin/env bash
# Fills .venv with this project and the extras named, at the tested versions.
#   requirements/install.sh worker,demo,dev
# PYTHON chooses the interpreter; without it the first suitable one on PATH is taken.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=$1
venv=.venv
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}" # torch's wheels are large

complain() {
    printf 'install: %s\n' "$@" >&2
    exit 1
}

suitable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

choose_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        suitable "$PYTHON" || complain "PYTHON=$PYTHON is not a Python of version 3.11 or newer."
        command -v "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if suitable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    complain "Headstart needs Python 3.11 or newer, and there is none on PATH." \
        "Install one and repeat, or say which: make install PYTHON=/path/to/python3"
}

make_environment() {
    local python=$1
    if suitable "$venv/bin/python"; then
        return
    fi
    rm -rf "$venv"
    # Debian and Ubuntu leave ensurepip out of python3: then uv comes by way of another pip or uv.
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    else
        "$python" -m venv --without-pip "$venv" ||
            complain "$python cannot make virtual environments: install the package python3-venv."
    fi
}

find_uv() {
    local python=$1
    if [[ -x "$venv/bin/uv" ]]; then
        :
    elif "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        "$venv/bin/python" -m pip install --quiet uv >&2
    elif command -v uv >/dev/null; then
        command -v uv
        return
    elif "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m pip --python "$venv/bin/python" install --quiet uv >&2
    else
        rm -rf "$venv"
        complain "$python has neither ensurepip nor pip, and there is no uv on PATH." \
            "Install one of them and repeat (Debian, Ubuntu: apt-get install python3-venv)."
    fi
    echo "$venv/bin/uv"
}

python=$(choose_python)
make_environment "$python"
uv=$(find_uv "$python")
"$uv" pip install --python "$venv/bin/python" \
    --compile-bytecode --constraint requirements/constraints.txt --build-constraint requirements/constraints.txt \
    --editable ".[$extras]"
