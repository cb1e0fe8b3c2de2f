# `make demo` and `make test` do all their own set-up. The rest is for working on the guard.
.PHONY: demo test lint unit truth truth-env clean

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

truth: truth-env
	.venv/bin/python benchmarks/truth.py

truth-env:
	@tools/setup.sh test
	.venv/bin/python -m benchmarks.env_truth

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
