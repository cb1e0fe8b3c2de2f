"""Edits for Rust crates: features, workspaces, lock files, what counts as unsafe."""

from __future__ import annotations

import pytest

from tests.support.fix_projects import CRATE, MIMALLOC, fix, write
from tls_wheel_guard.fix.edit import Proposal
from tls_wheel_guard.fix.project import Ambiguous
from tls_wheel_guard.fix.propose import Asked

LOCK = """\
version = 3

[[package]]
name = "zmid"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
dependencies = [
 "libmimalloc-sys",
]

[[package]]
name = "libmimalloc-sys"
version = "0.1.42"
source = "registry+https://github.com/rust-lang/crates.io-index"

[[package]]
name = "x"
version = "1.0.0"
dependencies = [
 "zmid",
]
"""


def test_a_transitive_crate_becomes_a_dependency_at_its_version_and_the_lock_follows() -> None:
    result = write(MIMALLOC, Cargo_dot_toml=CRATE + 'zmid = "1"\n', Cargo_dot_lock=LOCK)
    assert result["Cargo.toml"] == CRATE + 'zmid = "1"\nlibmimalloc-sys = { version = "0.1.42", features = ["local_dynamic_tls"] }\n'
    assert result["Cargo.lock"] == LOCK.replace(' "zmid",', ' "libmimalloc-sys",\n "zmid",')
    assert all(edit.safe for edit in fix(MIMALLOC, Cargo_dot_toml=CRATE + 'zmid = "1"\n', Cargo_dot_lock=LOCK).edits)


def test_without_a_report_it_is_not_known_whether_a_transitive_crate_is_linked() -> None:
    found = fix(Cargo_dot_toml=CRATE + 'zmid = "1"\n', Cargo_dot_lock=LOCK)
    assert len(found.edits) == 2
    assert not any(edit.safe for edit in found.edits)


def test_a_crate_that_only_the_tests_or_the_build_script_need_is_left_alone() -> None:
    manifest = CRATE + '\n[dev-dependencies]\nzmid = "1"\nmimalloc = "0.1"\n[build-dependencies]\nmimalloc = "0.1"\n'
    assert fix(Cargo_dot_toml=manifest, Cargo_dot_lock=LOCK) == Proposal()


def test_a_version_without_the_feature_is_advice() -> None:
    lock = LOCK.replace("libmimalloc-sys", "mimalloc").replace("0.1.42", "0.1.20")
    found = fix(Cargo_dot_toml=CRATE + 'mimalloc = "0.1"\n', Cargo_dot_lock=lock)
    assert not found.edits
    assert found.advice[0].text.startswith("update mimalloc to 0.1.22 or later")
    assert found.advice[0].line == 9


@pytest.mark.parametrize(
    "line",
    [
        'mimalloc = { version = "0.1", features = ["local_dynamic_tls"] }',
        'mimalloc = "0.1"\nlibmimalloc-sys = { version = "0.1", features = ["local_dynamic_tls"] }',
        'mimalloc = { version = "0.1", optional = true }\n\n[features]\ndefault = ["mimalloc/local_dynamic_tls"]',
    ],
)
def test_a_feature_that_is_on_already_is_not_asked_for(line: str) -> None:
    found = fix(Cargo_dot_toml=f"{CRATE}{line}\n")
    assert not found.edits
    assert found.solved == {"mimalloc"}


def test_features_that_maturin_passes_count() -> None:
    pyproject = '[build-system]\nbuild-backend = "maturin"\nrequires = ["maturin"]\n[tool.maturin]\nfeatures = ["mimalloc/local_dynamic_tls"]\n'
    assert not fix(Cargo_dot_toml=CRATE + 'mimalloc = "0.1"\n', pyproject_dot_toml=pyproject).edits


def test_snmalloc_gets_both_features() -> None:
    result = write(Cargo_dot_toml=CRATE + 'snmalloc-rs = { version = "0.7", features = ["local_dynamic_tls"] }\n')
    assert 'features = ["local_dynamic_tls", "notls"]' in result["Cargo.toml"]


def test_an_allocator_that_replaces_malloc_is_unsafe() -> None:
    (edit,) = fix(Cargo_dot_toml=CRATE + 'mimalloc = { version = "0.1", features = ["override"] }\n').edits
    assert "replaces malloc" in edit.doubt


def test_a_module_that_exports_malloc_makes_every_edit_unsafe() -> None:
    asked = Asked(MIMALLOC.culprits, MIMALLOC.rules, ("x/_x.so",))
    (edit,) = fix(asked, Cargo_dot_toml=CRATE + 'mimalloc = "0.1"\n').edits
    assert edit.doubt.startswith("x/_x.so exports malloc")


def test_a_crate_from_git_is_unsafe() -> None:
    (edit,) = fix(Cargo_dot_toml=CRATE + 'mimalloc = { git = "https://example.org/m" }\n').edits
    assert "git" in edit.doubt


def test_old_jemalloc_gets_its_variable_in_cargos_settings() -> None:
    lock = LOCK.replace("libmimalloc-sys", "jemalloc-sys").replace("0.1.42", "0.1.8").replace("zmid", "jemallocator")
    result = write(Cargo_dot_toml=CRATE + 'jemallocator = "0.1"\n', Cargo_dot_lock=lock)
    assert result[".cargo/config.toml"] == '[env]\nje_cv_tls_model = "no"\n'


def test_a_member_adds_the_feature_beside_what_the_workspace_says() -> None:
    files = {
        "Cargo_dot_toml": '[workspace]\nmembers = ["py", "core"]\n[workspace.dependencies]\nmimalloc = "0.1.46"\ncore = { path = "core" }\n',
        "py__Cargo_dot_toml": CRATE + "core.workspace = true\n",
        "core__Cargo_dot_toml": '[package]\nname = "core"\n[dependencies]\nmimalloc = { workspace = true }\n',
    }
    result = write(**files)
    assert result["core/Cargo.toml"].endswith('mimalloc = { workspace = true, features = ["local_dynamic_tls"] }\n')
    assert result["Cargo.toml"] == files["Cargo_dot_toml"]


def test_a_workspace_with_two_extensions_is_not_guessed_about() -> None:
    files = {
        "Cargo_dot_toml": '[workspace]\nmembers = ["a", "b"]\n',
        "a__Cargo_dot_toml": CRATE + 'mimalloc = "0.1"\n',
        "b__Cargo_dot_toml": CRATE,
    }
    with pytest.raises(Ambiguous, match=r"a/Cargo\.toml, b/Cargo\.toml"):
        fix(**files)
    named = '[tool.maturin]\nmanifest-path = "a/Cargo.toml"\n'
    assert [edit.path for edit in fix(**files, pyproject_dot_toml=named).edits] == ["a/Cargo.toml"]


def test_a_crate_and_its_sys_crate_need_one_edit() -> None:
    (edit,) = fix(Cargo_dot_toml=CRATE + 'libmimalloc-sys = "0.1.42"\nmimalloc = "0.1.46"\n').edits
    assert "0.1.46" in edit.new


def test_a_wheel_that_was_looked_at_settles_whether_malloc_is_replaced() -> None:
    asked = Asked(MIMALLOC.culprits, MIMALLOC.rules, ())
    (edit,) = fix(asked, Cargo_dot_toml=CRATE + 'mimalloc = { version = "0.1", features = ["override"] }\n').edits
    assert edit.safe


def test_crates_that_the_build_says_nothing_of_are_left_alone() -> None:
    crates = {"a__Cargo_dot_toml": CRATE + 'mimalloc = "0.1"\n', "b__Cargo_dot_toml": CRATE + 'mimalloc = "0.1"\n'}
    assert fix(setup_dot_py="", **crates) == Proposal()
    with pytest.raises(Ambiguous):
        fix(setup_dot_py="from setuptools_rust import RustExtension\n", **crates)
