#!/bin/sh
# Workflows, the action and the hooks: valid by their schemas, and by actionlint, which a Go toolchain runs from its module.
set -eu
cd "$(dirname "$0")/.."
ACTIONLINT=v1.7.12
.venv/bin/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
.venv/bin/check-jsonschema -q --builtin-schema vendor.github-actions action.yml
if command -v go >/dev/null; then
    go run "github.com/rhysd/actionlint/cmd/actionlint@$ACTIONLINT" .github/workflows/*.yml
elif [ -n "${CI:-}" ]; then
    echo "actionlint needs Go, and CI must not leave it out" >&2
    exit 1
else
    echo "actionlint is left out: there is no Go here"
fi
