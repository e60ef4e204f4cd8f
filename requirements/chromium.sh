#!/usr/bin/env bash
# Provides a Chromium for the browser tests if there is none. Never fails: without one, those tests
# are skipped (in CI they fail and say why).
set -uo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python

present() {
    "$python" -c 'import sys; from tests.fixtures.browser import find_chromium as find
path = find(); sys.exit(path is None or not path.exists())' 2>/dev/null
}

is_debian() {
    grep -qsx 'ID=debian' /etc/os-release && command -v apt-get >/dev/null # Ubuntu's is a snap
}

install_with_apt() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends chromium
}

present && exit 0
echo "Providing Chromium for the browser tests..." >&2
if [[ $(id -u) -eq 0 ]] && is_debian; then
    install_with_apt </dev/null >&2
fi
present || timeout 300 "$python" -m playwright install chromium </dev/null >&2
present || echo "No Chromium could be installed; HEADSTART_CHROMIUM may name one." >&2
exit 0
