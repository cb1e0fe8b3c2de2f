# `make demo` and `make test` do all their own set-up. The rest is for working on the guard.
.PHONY: demo test lint unit truth truth-env truth-advice clean

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

truth: truth-env truth-advice
	.venv/bin/python benchmarks/truth.py

truth-advice:
	@tools/setup.sh test
	.venv/bin/python benchmarks/advice.py
	.venv/bin/python benchmarks/doctor.py

truth-env:
	@tools/setup.sh test
	.venv/bin/python -m benchmarks.env_truth

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
