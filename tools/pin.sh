#!/bin/sh
# Pin the build tools of the tests anew: tests/support/pins/NAME.in -> NAME.txt, with the hash of every file of each version.
# Needs uv (https://docs.astral.sh/uv/). The cases that a new version breaks are the point of doing it: run `make test` behind it.
set -eu
cd "$(dirname "$0")/../tests/support/pins"
for wanted in *.in; do
    name=${wanted%.in}
    # The guard itself is a folder, which has no hash: what is installed with it has versions only.
    [ "$name" = inner ] && hashes= || hashes=--generate-hashes
    # shellcheck disable=SC2086 # an option or nothing
    uv pip compile -q --upgrade --universal --python-version 3.10 $hashes --no-annotate --no-header "$wanted" -o "$name.txt"
done
