# `make demo` and `make test` do all their own set-up. The rest is for working on the guard.
.PHONY: demo test lint unit matrix rewritten clean

demo:
	@tools/setup.sh demo
	@tools/demo.sh

test: lint unit

lint:
	@tools/setup.sh test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

unit:
	@tools/setup.sh test
	.venv/bin/python -m pytest

# Long proofs: half an hour each. They need Rust and Go beside what `make test` installs.
matrix:
	@tools/setup.sh test
	.venv/bin/python benchmarks/matrix.py >docs/matrix.md.new && mv docs/matrix.md.new docs/matrix.md

rewritten:
	@tools/setup.sh test
	.venv/bin/python benchmarks/rewritten.py >docs/rewritten.md.new && mv docs/rewritten.md.new docs/rewritten.md

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
