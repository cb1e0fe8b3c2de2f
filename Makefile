# `make demo` and `make test` do all their own set-up. The rest is for working on the guard.
.PHONY: demo test lint unit truth truth-env truth-advice proof-builds proof-fix matrix rewritten culprits docs index-bed repair-bed report-proof truth-descriptors descriptor-mpfr descriptor-drjit clean

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
	@tools/lint_workflows.sh

unit:
	@tools/setup.sh test
	.venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

truth: truth-env truth-advice
	.venv/bin/python benchmarks/truth.py

truth-advice:
	@tools/setup.sh test
	.venv/bin/python benchmarks/advice.py
	.venv/bin/python benchmarks/doctor.py

truth-env:
	@tools/setup.sh test
	.venv/bin/python -m benchmarks.env_truth

# Real builds, sdists, marked modules under qemu, SIGKILL: half an hour; needs Rust, Go and lld-14 too. The page says what was measured.
proof-builds:
	@tools/setup.sh test
	{ cat benchmarks/builds.md; .venv/bin/python benchmarks/builds.py && .venv/bin/python benchmarks/marks.py; } >docs/proofs/builds.md.unfinished
	mv docs/proofs/builds.md.unfinished docs/proofs/builds.md

# Long proofs: half an hour each. They need Rust and Go beside what `make test` installs.
matrix:
	@tools/setup.sh test
	.venv/bin/python benchmarks/matrix.py >docs/proofs/matrix.md.new && mv docs/proofs/matrix.md.new docs/proofs/matrix.md

rewritten:
	@tools/setup.sh test
	.venv/bin/python benchmarks/rewritten.py >docs/proofs/rewritten.md.new && mv docs/proofs/rewritten.md.new docs/proofs/rewritten.md

# The first run builds some hundred libraries, for an hour or two; they are kept in the user's cache folder. Needs Rust, Go and CMake too.
# With TRUTH=truth.jsonl WHEELS=folder also wheels whose truth is written down.
culprits:
	@tools/setup.sh test
	{ cat benchmarks/culprits.md; .venv/bin/python benchmarks/culprits.py $(if $(TRUTH),--truth $(TRUTH) --wheels $(WHEELS)); } >docs/proofs/culprits.md.unfinished
	mv docs/proofs/culprits.md.unfinished docs/proofs/culprits.md

# Builds of every sample project before and after `fix`; needs Rust, Go and CMake too. With CLONES=folder also real projects.
proof-fix:
	@tools/setup.sh test
	{ cat benchmarks/fix.md; .venv/bin/python -m benchmarks.fix; $(if $(CLONES),.venv/bin/python -m benchmarks.fix_real $(CLONES)); } >docs/proofs/fix.md.unfinished
	mv docs/proofs/fix.md.unfinished docs/proofs/fix.md

# The site of docs/, in site/. Links and headings are checked.
docs:
	@tools/setup.sh docs
	NO_MKDOCS_2_WARNING=true .venv/bin/mkdocs build --strict

# An index on this machine: verdicts beside check, objects, faults, kills, growth. With WHEELS=folder, PROJECTS=folder also over real wheels.
index-bed:
	@tools/setup.sh test
	{ cat benchmarks/index_bed.md; .venv/bin/python -m benchmarks.index_bed $(if $(WHEELS),--wheels $(WHEELS)) $(if $(PROJECTS),--projects $(PROJECTS)); } >docs/proofs/audit.md.new
	mv docs/proofs/audit.md.new docs/proofs/audit.md

# Repaired machine code beside the original: an hour on two processors. Needs Rust; with CORPUS=folder also a folder of wheels.
# MACHINE=aarch64: of that machine, under qemu-user; needs Rust's std for it.
REPAIR_PAGE = docs/proofs/repair$(if $(MACHINE),-$(MACHINE)).md
repair-bed:
	@tools/setup.sh test
	.venv/bin/python -m benchmarks.repair_bed $(if $(MACHINE),--machine $(MACHINE)) $(if $(CORPUS),--corpus $(CORPUS)) >$(REPAIR_PAGE).unfinished
	mv $(REPAIR_PAGE).unfinished $(REPAIR_PAGE)

# How long findings are over a folder of wheels, whether every document is valid, and the pages in Chromium (CHROMIUM=path) with axe-core from npm.
report-proof:
	@tools/setup.sh test
	.venv/bin/python -m benchmarks.reports $(WHEELS)
	.venv/bin/tls-wheel-guard check --no-config $(WHEELS) --if-any -q --fail-on never -o /dev/null --report html=.report-proof.html
	cd benchmarks/html_pages && npm install --silent --no-audit --no-fund && node look.mjs ../../.report-proof.html
	rm .report-proof.html

# Descriptor calls of random C and C++ beside relocations, destroyed registers, gcc's live sets and a malloc that destroys: ten minutes on an idle
# machine. The tables are in docs/proofs/descriptors.md.
truth-descriptors:
	@tools/setup.sh test
	.venv/bin/python benchmarks/descriptor_calls.py
	.venv/bin/python -m benchmarks.descriptor_gcc
	.venv/bin/python -m benchmarks.descriptor_first_use

# MPFR from Debian's source, and drjit's released wheel; the same page. MPFR needs libgmp-dev.
descriptor-mpfr:
	@tools/setup.sh test
	.venv/bin/python -m benchmarks.descriptor_mpfr

descriptor-drjit:
	@tools/setup.sh test
	.venv/bin/python -m benchmarks.descriptor_drjit

clean:
	rm -rf .venv site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
