#!/bin/sh
# Set up what a command needs, and only what is missing.
#   tools/setup.sh demo   a compiler, and .venv with the guard
#   tools/setup.sh test   also the cross compilers, musl, and the test tools
#   tools/setup.sh docs   .venv with what `make docs` needs
set -eu
cd "$(dirname "$0")/.."
purpose=${1:?usage: tools/setup.sh demo|test|docs}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_missing() {
    command -v dpkg-query >/dev/null || return 0
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    echo "installing:$missing"
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

find_python() {
    for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    echo "no Python of 3.10 or newer was found; hint: install one, or set PYTHON" >&2
    exit 1
}

if [ "$purpose" = test ]; then
    # shellcheck disable=SC2046 # one package a line
    install_missing $(cat tools/packages.txt)
    command -v cargo >/dev/null || install_missing cargo
elif [ "$purpose" = demo ]; then
    command -v gcc >/dev/null || install_missing gcc libc6-dev
fi
python=$(find_python)
"$python" -c 'import ensurepip, venv' 2>/dev/null || install_missing python3-venv
# The system's own Python has its headers in a package of their own.
header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
[ -e "$header" ] || install_missing "$(basename "$(dirname "$header")")-dev" || install_missing python3-dev

if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv
fi
# Again only when the project's own declaration has changed since.
stamp=.venv/$purpose.stamp
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    .venv/bin/python -m pip install -q --disable-pip-version-check --upgrade 'pip >=25.1'
    case $purpose in
    test) set -- -e '.[all]' --group test ;;
    docs) set -- --group docs ;;
    *) set -- -e . ;;
    esac
    .venv/bin/python -m pip install -q --disable-pip-version-check "$@"
    touch "$stamp"
fi
