#!/bin/sh
# Build a real C extension into a wheel, check it, and say in words what happened.
set -eu
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

echo "== Building sample_projects/setuptools-flag: a C extension compiled with -ftls-model=initial-exec"
.venv/bin/python -m pip wheel -q --disable-pip-version-check --no-deps -w "$out" sample_projects/setuptools-flag
wheel=$(echo "$out"/*.whl)
echo "   built $(basename "$wheel")"
machine=$(uname -m)

echo
echo "== It imports here, so its author would release it:"
.venv/bin/python - "$wheel" <<'PYTHON'
import sys
import tempfile
import zipfile

with tempfile.TemporaryDirectory() as folder:
    zipfile.ZipFile(sys.argv[1]).extractall(folder)
    sys.path.insert(0, folder)
    import scratch

    scratch.selftest()
    print("   import scratch; scratch.selftest(): ok")
PYTHON

echo
echo "== tls-wheel-guard check $(basename "$wheel") --target musllinux_1_2_$machine --target freebsd_14_2_amd64"
code=0
.venv/bin/tls-wheel-guard check --no-config "$wheel" \
    --target "musllinux_1_2_$machine" --target freebsd_14_2_amd64 >"$out/report.txt" || code=$?
cat "$out/report.txt"

echo "== In words"
if [ "$code" = 1 ] && grep -q 'initial-exec-tls\]' "$out/report.txt"; then
    cat <<'WORDS'
   The wheel works on this machine and would be released. On musl (Alpine) and on FreeBSD its import fails for everyone, and
   with glibc it fails in a process where other libraries came first. The guard saw it in the built wheel, without running it,
   said what happens to whom and what to type, and ended with exit code 1: in CI, this release stops here. With -v it also
   quotes each loader's own words, which the users would have searched for.
   What cures it: see sample_projects/setuptools-clean, the same extension built with -ftls-model=global-dynamic.
WORDS
else
    echo "   the guard did not find what was built in (exit code $code): this is a bug" >&2
    exit 1
fi
