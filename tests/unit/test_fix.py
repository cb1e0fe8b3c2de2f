"""Edits of build files, one build system after the other: what is edited, what is only advised, what counts as unsafe."""

from __future__ import annotations

import pytest

from tests.support.fix_files import GD, IE, fixed, proposal_for
from tests.support.fix_projects import CRATE, MIMALLOC, fix, write
from tls_wheel_guard.culprits.data_files import known_culprits
from tls_wheel_guard.culprits.model import DataError, culprit_from
from tls_wheel_guard.fix.edit import Proposal, TextEdit, Unparsable, apply, decode
from tls_wheel_guard.fix.project import Project
from tls_wheel_guard.fix.propose import Asked, propose

VENDORED = 'project(m C)\noption(MI_LOCAL_DYNAMIC_TLS "x" OFF)\nlist(APPEND mi_cflags -ftls-model=initial-exec)\n'


def test_a_library_in_the_tree_gets_its_own_switch_before_it_is_added() -> None:
    top = "project(x C)\nif(UNIX)\n  add_subdirectory(vendor/mimalloc)\nendif()\n"
    result = write(CMakeLists_dot_txt=top, vendor__mimalloc__CMakeLists_dot_txt=VENDORED)
    line = '  set(MI_LOCAL_DYNAMIC_TLS ON CACHE BOOL "initial-exec TLS does not load late" FORCE)\n'
    assert result["CMakeLists.txt"] == top.replace("  add_sub", f"{line}  add_sub")
    assert result["vendor/mimalloc/CMakeLists.txt"] == VENDORED
    assert not fix(CMakeLists_dot_txt=top, vendor__mimalloc__CMakeLists_dot_txt=VENDORED).advice


def test_a_folder_that_is_put_together_is_set_by_scikit_build_core() -> None:
    pyproject = '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
    files = {"CMakeLists_dot_txt": "foreach(d ${deps})\nadd_subdirectory(${d})\nendforeach()\n", "vendor__mimalloc__CMakeLists_dot_txt": VENDORED}
    result = write(**files, pyproject_dot_toml=pyproject)
    assert result["pyproject.toml"] == pyproject + '\n[tool.scikit-build.cmake.define]\nMI_LOCAL_DYNAMIC_TLS = "ON"\n'
    assert fix(**files).advice[0].text == "cmake -DMI_LOCAL_DYNAMIC_TLS=ON"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("FetchContent_Declare(mi\n  GIT_REPOSITORY https://github.com/microsoft/mimalloc.git\n  GIT_TAG v2.1.7)", "set(MI_LOCAL_DYNAMIC_TLS ON"),
        ('CPMAddPackage("gh:microsoft/mimalloc@2.1.7")', "set(MI_LOCAL_DYNAMIC_TLS ON"),
        (
            "ExternalProject_Add(mi URL https://x.org/mimalloc-2.1.7.tar.gz CMAKE_ARGS -DMI_OVERRIDE=OFF)",
            "CMAKE_ARGS -DMI_LOCAL_DYNAMIC_TLS=ON -DMI_",
        ),
        ("ExternalProject_Add(mimalloc URL https://x.org/mimalloc-2.1.7.tar.gz)", " CMAKE_ARGS -DMI_LOCAL_DYNAMIC_TLS=ON)"),
    ],
)
def test_downloads_by_cmake(command: str, expected: str) -> None:
    found = fix(CMakeLists_dot_txt=f"project(x)\n{command}\n")
    assert expected in write(CMakeLists_dot_txt=f"project(x)\n{command}\n")["CMakeLists.txt"]
    assert all(edit.safe for edit in found.edits)


def test_a_download_that_is_too_old_or_of_no_known_version() -> None:
    old = "FetchContent_Declare(m GIT_REPOSITORY https://github.com/microsoft/mimalloc GIT_TAG v1.0.5)\n"
    assert not fix(CMakeLists_dot_txt=old).edits
    assert "1.1.0 or later" in fix(CMakeLists_dot_txt=old).advice[0].text
    (edit,) = fix(CMakeLists_dot_txt=old.replace("v1.0.5", "0123abc")).edits
    assert not edit.safe


@pytest.mark.parametrize("line", ["set(MI_LOCAL_DYNAMIC_TLS ON)", "set(MI_LOCAL_DYNAMIC_TLS TRUE CACHE BOOL x FORCE)"])
def test_a_switch_that_is_set_is_left_alone(line: str) -> None:
    files = {"CMakeLists_dot_txt": f"{line}\nadd_subdirectory(m)\n", "m__CMakeLists_dot_txt": VENDORED}
    assert fix(**files).solved == {"mimalloc"}
    assert not fix(**files).edits
    defined = '[tool.scikit-build.cmake.define]\nMI_LOCAL_DYNAMIC_TLS = "ON"\n'
    assert not fix(**{**files, "CMakeLists_dot_txt": "add_subdirectory(m)\n"}, pyproject_dot_toml=defined).edits


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"x = ['{IE}']", "safe"),
        (f"if '{IE}' in flags: pass", "advice"),
        (f"x = has_flag('{IE}')", "unsafe"),
        (f"compile_it('{IE}')", "unsafe"),
        (f"x = f'{{a}} {IE}'", "advice"),
        ("x = '-ftls-' 'model=initial-exec'", "nothing"),
        ("x = '-ftls-model=' + model", "advice"),
        (f"x = '-O2 ' '{IE}'", "safe"),
        (f"x = r'''{IE}'''", "safe"),
        (f"x = '\\x2dftls-model=initial-exec {IE}'", "advice"),
        (f"run(['cc', '{IE}'], check=True)", "safe"),
        (f"x = ['{IE}-not']", "nothing"),
    ],
)
def test_what_a_flag_in_python_is(line: str, kind: str) -> None:
    found = fix(setup_dot_py=f"{line}\n")
    got = "advice" if found.advice else "nothing" if not found.edits else "safe" if found.edits[0].safe else "unsafe"
    assert got == kind


def test_a_flag_that_goes_takes_its_comma_with_it() -> None:
    flag = "-Wl,-z,nodlopen"
    text = f"a = ['{flag}']\nb = ['{flag}', '-g']\nc = ['-g',\n     '{flag}']\nd = '-g {flag} -O2'\ne = '{flag} -g'\n"
    assert write(setup_dot_py=text)["setup.py"] == "a = []\nb = ['-g']\nc = ['-g']\nd = '-g -O2'\ne = '-g'\n"
    meson = f"a = ['{flag}', '-g']\nb = ['-g', '{flag}']\n"
    assert write(meson_dot_build=meson)["meson.build"] == "a = ['-g']\nb = ['-g']\n"
    cmake = f"target_link_options(x PRIVATE -g {flag})\n"
    assert write(CMakeLists_dot_txt=cmake)["CMakeLists.txt"] == "target_link_options(x PRIVATE -g)\n"
    toml = f'[tool.x]\n[tool.setuptools]\next-modules = [{{ name = "x", extra-link-args = ["{flag}", "-g"] }}]\n'
    assert write(pyproject_dot_toml=toml)["pyproject.toml"] == toml.replace(f'"{flag}", ', "")


def test_python_in_another_encoding_stays_in_it() -> None:
    data = f"# -*- coding: latin-1 -*-\nname = 'caf\xe9'; x = ['{IE}']\n".encode("latin-1")
    assert fixed({"setup.py": data})["setup.py"] == data.replace(IE.encode(), GD.encode())


def test_settings_in_toml() -> None:
    pyproject = (
        f'[project]\ndescription = "about {IE}"\n[tool.scikit-build]\ncmake.args = ["-DCMAKE_C_FLAGS={IE}"]\n'
        f'[tool.meson-python.args]\nsetup = ["-Dc_args={IE}"]\n'
        f"[tool.cibuildwheel.linux]\nenvironment = {{ CFLAGS = '{IE} -g' }}\n[[tool.setuptools.ext-modules]]\nextra-compile-args = ['{IE}']\n"
    )
    result = write(pyproject_dot_toml=pyproject)["pyproject.toml"]
    assert result == pyproject.replace(IE, GD).replace(f"about {GD}", f"about {IE}")
    config = f'[env]\nCFLAGS = {{ value = "{IE}", force = true }}\n'
    assert write(_dot_cargo__config_dot_toml=config, Cargo_dot_toml=CRATE)[".cargo/config.toml"] == config.replace(IE, GD)


def test_rust_keeps_comments_raw_strings_and_lifetimes() -> None:
    text = f'/* /* {IE} */ */ fn a<\'a>(x: &\'a str) {{ let c = \'"\'; b.flag("{IE}"); b.flag(r#"{IE}"#); // {IE}\n is_ok("{IE}"); }}\n'
    found = fix(Cargo_dot_toml=CRATE, build_dot_rs=text)
    assert [edit.safe for edit in found.edits] == [True, True, False]


def test_attributes_in_c() -> None:
    used = '__attribute__((tls_model ("initial-exec")))'
    text = f'/* tls_model("initial-exec") */\n#define M {used}\nstatic __thread int x {used};\n'
    found = fix(setup_dot_py="", src__x_dot_c=text, vendor__y_dot_c=text)
    assert [(edit.path, edit.start) for edit in found.edits] == [("src/x.c", text.rindex("initial-exec"))]
    assert not found.edits[0].safe
    assert [(a.path, a.line) for a in found.advice] == [("src/x.c", 2), ("vendor/y.c", 2), ("vendor/y.c", 3)]


def test_libgomp_is_left_out_where_cibuildwheel_repairs() -> None:
    setup = "setup(ext_modules=[Extension('x', ['x.c'], extra_compile_args=['-fopenmp'])])\n"
    added = write(setup_dot_py=setup, pyproject_dot_toml="[tool.cibuildwheel]\nskip = 'pp*'\n")["pyproject.toml"]
    assert 'repair-wheel-command = "auditwheel repair --exclude libgomp.so.1 -w {dest_dir} {wheel}"' in added
    command = "[tool.cibuildwheel.linux]\nrepair-wheel-command = [\n  'x',\n  'auditwheel repair -w {dest_dir} {wheel}',\n]\n"
    found = fix(setup_dot_py=setup, pyproject_dot_toml=command)
    assert write(setup_dot_py=setup, pyproject_dot_toml=command)["pyproject.toml"] == command.replace(
        "repair -w", "repair --exclude libgomp.so.1 -w"
    )
    assert not found.edits[0].safe
    assert not fix(setup_dot_py=setup, pyproject_dot_toml=command.replace("repair -w", "repair --exclude libgomp.so.1 -w")).edits


def test_openmp_alone_is_no_reason() -> None:
    setup = "setup(ext_modules=[Extension('x', ['x.c'], extra_compile_args=['-fopenmp'])])\n"
    assert fix(setup_dot_py=setup) == Proposal()
    asked = Asked(frozenset({"libgomp"}), frozenset({"initial-exec-tls"}))
    assert "--exclude libgomp.so.1" in fix(asked, setup_dot_py=setup).advice[0].text


def test_an_old_zig_is_raised_and_its_condition_kept() -> None:
    pyproject = '[build-system]\nrequires = ["maturin", "ziglang ==0.11.0 ; sys_platform == \'linux\'"]\n'
    assert write(pyproject_dot_toml=pyproject)["pyproject.toml"] == pyproject.replace("ziglang ==0.11.0 ; sys", "ziglang>=0.12; sys")
    for fine in ("ziglang", "ziglang>=0.11", "ziglang==0.13.0", "ziglang-tools<0.5"):
        assert not fix(pyproject_dot_toml=f'[build-system]\nrequires = ["{fine}"]\n').edits


def test_jemallocs_configure_in_a_script() -> None:
    script = "#!/bin/sh\ncd jemalloc-5.3.0\n# ./configure\n./configure --prefix=/usr\nmake\n"
    found = fix(setup_dot_py="", build_dot_sh=script)
    assert write(setup_dot_py="", build_dot_sh=script)["build.sh"] == script.replace(
        "\n./configure --p", "\n./configure --disable-initial-exec-tls --p"
    )
    assert not found.edits[0].safe
    python = 'run(["./configure", "--prefix"], cwd="jemalloc")\n'
    assert write(setup_dot_py=python)["setup.py"] == python.replace('configure", ', 'configure", "--disable-initial-exec-tls", ')


def test_another_librarys_configure_beside_jemalloc_is_left_alone() -> None:
    script = (
        "install_jemalloc() {\n  cd jemalloc-5.3.0\n  make\n}\n"
        "install_curl() {\n  pushd ${directory}\n  ./configure --with-ssl \\\n    --prefix=/usr\n}\n"
    )
    assert fix(setup_dot_py="", build_dot_sh=script) == Proposal()


def test_what_no_parser_reads_is_advice_with_its_line() -> None:
    found = fix(setup_dot_py="", Makefile=f"# {IE}\nCFLAGS += {IE}\n", _dot_github__workflows__b_dot_yml=f"env:\n  CFLAGS: {IE}\n")
    assert sorted((a.path, a.line) for a in found.advice) == [(".github/workflows/b.yml", 2), ("Makefile", 2)]


def test_flags_of_other_projects_in_the_tree_are_advice() -> None:
    found = fix(setup_dot_py="", third_party__z__CMakeLists_dot_txt=f"add_compile_options({IE})\n")
    assert not found.edits
    assert "third_party" in found.advice[0].why_not


def test_only_what_a_report_is_about() -> None:
    files = {"Cargo_dot_toml": CRATE + 'mimalloc = "0.1"\ntikv-jemallocator = "0.6"\n'}
    assert [edit.culprit for edit in fix(MIMALLOC, **files).edits] == ["mimalloc"]
    assert not fix(Asked(frozenset(), frozenset({"descriptor-clobber"})), setup_dot_py=f"x = ['{IE}']\n").edits


def test_a_culprit_without_a_place_is_said_with_its_remedies() -> None:
    go = fix(Asked(frozenset({"go"}), frozenset({"initial-exec-tls"})), setup_dot_py="")
    assert go.advice[0].culprit == "go"
    assert "no edit" in go.advice[0].why_not
    done = fix(MIMALLOC, Cargo_dot_toml=CRATE + 'mimalloc = { version = "0.1", features = ["local_dynamic_tls"] }\n')
    assert done.advice[0].text == "build the wheel again: mimalloc"


def test_a_culprit_that_is_added_is_fixed_without_code() -> None:
    remedy = {
        "builds": ["cargo"], "text": "feature late", "status": "read",
        "edit": [
            {"kind": "cargo-feature", "crates": {"newalloc": "1.0"}, "features": ["late"]},
            {"kind": "cmake-option", "option": "NA_LATE", "projects": ["newalloc"]},
        ],
    }  # fmt: skip
    table = {"id": "newalloc", "name": "n", "how": "flag", "why": "w", "versions": "all", "measured": "no", "remedies": [remedy]}
    culprit = culprit_from("newalloc", table)
    cmake = "FetchContent_Declare(newalloc GIT_REPOSITORY https://x.org/newalloc GIT_TAG v2.0)\n"
    project = Project({"Cargo.toml": CRATE + 'newalloc = "1.2"\n', "CMakeLists.txt": cmake})
    assert [edit.new.split("(")[0] for edit in propose(project, [culprit]).edits] == ['{ version = "1.2", features = ["late"] }', "set"]
    for wrong in ({"kind": "x"}, {"kind": "flag", "olf": "-x"}, {"kind": "flag", "new": "-x"}, {"kind": "cargo-feature", "crates": "x"}):
        with pytest.raises(DataError, match=r"newalloc\.toml: remedies\[0\]\.edit"):
            culprit_from("newalloc", {**table, "remedies": [{**remedy, "edit": wrong}]})


def test_every_measured_remedy_for_a_build_file_is_one_that_fix_can_write() -> None:
    edits = {c.id for c in known_culprits() for r in c.remedies if r.edits}
    assert edits >= {"mimalloc", "jemalloc", "snmalloc", "compiler-flag", "attribute", "libgomp", "nodlopen", "zig-libc"}


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("setup.py", f"x = ['{IE}'\n".encode()), ("CMakeLists.txt", f"add_compile_options({IE}\n".encode()),
        ("meson.build", f"x = ['{IE}'\n".encode()), ("pyproject.toml", b"[tool\n"), ("Cargo.toml", b'x = "\n[dependencies]\nmimalloc'),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(path: str, data: bytes) -> None:
    with pytest.raises(Unparsable) as caught:
        proposal_for({path: data})
    assert caught.value.path == path


@pytest.mark.parametrize("data", [b"\xff\xfe", b"# coding: nonsense\n", b"\0"])
def test_bytes_that_are_no_text(data: bytes) -> None:
    with pytest.raises(Unparsable):
        decode("setup.py", data)


def test_edits_that_overlap_are_an_error() -> None:
    edits = [TextEdit("x", 0, 3, "a", "", ""), TextEdit("x", 2, 4, "b", "", "")]
    with pytest.raises(ValueError, match="overlap"):
        apply("abcdef", edits)


TARGETS = {
    "cfg(windows)": False, "cfg(unix)": True, "cfg(not(windows))": True, 'cfg(target_os = "linux")': True, 'cfg(target_os = "macos")': False,
    'cfg(any(not(target_family = "unix"), target_os = "emscripten"))': False,
    'cfg(all(target_family = "unix", not(target_os = "linux")))': True,
    'cfg(not(target_env = "msvc"))': True, 'cfg(all(unix, target_arch = "x86_64"))': True, 'cfg(all(windows, target_arch = "x86_64"))': False,
    "x86_64-pc-windows-msvc": False, "x86_64-unknown-linux-musl": True, "cfg(not a cfg": True, "cfg(any())": False, "cfg(all())": True,
    'cfg(not(any(target_os = "macos", target_os = "windows")))': True, 'cfg(target_env = "musl")': True, 'cfg(feature = "x")': True,
}  # fmt: skip


@pytest.mark.parametrize(("target", "may"), TARGETS.items())
def test_only_targets_with_a_static_tls_block_count(target: str, may: bool) -> None:
    manifest = CRATE.replace("[dependencies]", f"[target.'{target}'.dependencies]") + 'mimalloc = "0.1"\n'
    assert bool(fix(Cargo_dot_toml=manifest).edits) == may


def test_a_program_needs_no_edit() -> None:
    pyproject = '[build-system]\nrequires = ["maturin"]\nbuild-backend = "maturin"\n[tool.maturin]\nbindings = "bin"\n'
    assert not fix(Cargo_dot_toml=CRATE + 'mimalloc = "0.1"\n', pyproject_dot_toml=pyproject).edits


def test_templates_of_other_languages_are_no_cmake() -> None:
    assert fix(CMakeLists_dot_txt="project(x)\n", config_dot_h_dot_cmake=f'#cmakedefine "mimalloc {IE}') == Proposal()


def test_flags_for_systems_without_a_static_tls_block_are_left_alone() -> None:
    cmake = (
        f"if(APPLE)\n  add_compile_options({IE})\nelse()\n  add_compile_options({IE})\nendif()\nif(X)\nelseif(WIN32)\n  set(a {IE})\nendif()\n"
    )
    before, middle, after = cmake.split(IE, 2)
    assert write(CMakeLists_dot_txt=cmake)["CMakeLists.txt"] == f"{before}{IE}{middle}{GD}{after}"
    python = f"if sys.platform == 'darwin':\n    x = ['{IE}']\nelse:\n    x = ['{IE}']\ny = ['{IE}'] if sys.platform.startswith('win') else []\n"
    found = fix(setup_dot_py=python)
    assert [edit.start for edit in found.edits] == [python.index(IE, python.index("else"))]
    assert not found.advice


def test_arguments_that_are_collected_in_a_variable_count() -> None:
    made = "set(ARGS -DMI_OVERRIDE=OFF\n  -DMI_LOCAL_DYNAMIC_TLS=ON)\nexternalproject_add(mimalloc_ep URL ${URL} CMAKE_ARGS ${ARGS})\n"
    assert not fix(CMakeLists_dot_txt=made).edits
    without = made.replace("\n  -DMI_LOCAL_DYNAMIC_TLS=ON", "")
    (edit,) = fix(CMakeLists_dot_txt=without).edits
    assert edit.new == " -DMI_LOCAL_DYNAMIC_TLS=ON"


@pytest.mark.parametrize("command", ["add_subdirectory", "add_subdirectory_static"])
def test_a_library_whose_source_is_not_here_gets_an_unsafe_edit(command: str) -> None:
    top = f"project(x)\nif(WITH_MIMALLOC)\n    {command}(third_party/mimalloc EXCLUDE_FROM_ALL)\nendif()\n"
    (edit,) = fix(CMakeLists_dot_txt=top).edits
    assert edit.new.startswith("    set(MI_LOCAL_DYNAMIC_TLS ON CACHE BOOL")
    assert not edit.safe
    old = VENDORED.replace("option(MI_LOCAL_DYNAMIC_TLS", "option(MI_OTHER")
    assert not fix(CMakeLists_dot_txt=top, third_party__mimalloc__CMakeLists_dot_txt=old).edits


def test_descriptors_are_only_given_up_where_a_report_found_them() -> None:
    rules = {"rules": ["descriptor-clobber"]}
    remedy = {
        "builds": ["cmake"], "text": "x", "status": "read",
        "edit": [
            {"kind": "cmake-option", "option": "NB_HAS_MTLS_GNU2", "value": "OFF", "projects": ["nanobind"], "cached": True, **rules},
            {"kind": "flag", "old": "-mtls-dialect=gnu2", "new": "-mtls-dialect=gnu", "why": "w", **rules},
        ],
    }  # fmt: skip
    table = {"id": "nb", "name": "n", "how": "flag", "why": "w", "versions": "all", "measured": "no", "generic": True, "remedies": [remedy]}
    pyproject = '[build-system]\nrequires = ["scikit-build-core", "nanobind"]\nbuild-backend = "scikit_build_core.build"\n'
    cmake = "find_package(nanobind CONFIG REQUIRED)\nnanobind_add_module(x x.cpp)\ntarget_compile_options(x PRIVATE -mtls-dialect=gnu2)\n"
    files = {"pyproject.toml": pyproject, "CMakeLists.txt": cmake}
    culprits = [culprit_from("nb", table)]
    assert propose(Project(files), culprits) == Proposal()
    assert propose(Project(files), culprits, MIMALLOC) == Proposal()
    found = propose(Project(files), culprits, Asked(frozenset(), frozenset({"descriptor-clobber"})))
    assert {edit.path: edit.new for edit in found.edits} == {
        "pyproject.toml": '\n[tool.scikit-build.cmake.define]\nNB_HAS_MTLS_GNU2 = "OFF"\n',
        "CMakeLists.txt": "-mtls-dialect=gnu",
    }
    assert all(edit.safe for edit in found.edits)
    files["pyproject.toml"] = pyproject + '\n[tool.scikit-build.cmake.define]\nNB_HAS_MTLS_GNU2 = "OFF"\n'
    again = propose(Project(files), culprits, Asked(frozenset(), frozenset({"descriptor-clobber"})))
    assert [edit.path for edit in again.edits] == ["CMakeLists.txt"]


def test_tests_documentation_and_projects_within_the_project_are_left_alone() -> None:
    flag = f"x = ['{IE}']\n"
    inside = {"tests__x_dot_py": flag, "docs__conf_dot_py": flag, "other__setup_dot_py": flag, "other__CMakeLists_dot_txt": f"set(x {IE})\n"}
    assert fix(setup_dot_py="", **inside) == Proposal()
    assert sorted(edit.path for edit in fix(CMakeLists_dot_txt="", **inside).edits) == ["other/CMakeLists.txt", "other/setup.py"]


def test_python_that_the_build_does_not_name_is_left_alone_or_unsafe() -> None:
    flag = f"x = ['{IE}']\n"
    assert fix(setup_dot_py="", pkg__jit_dot_py=flag) == Proposal()
    asked = Asked(frozenset(), frozenset({"initial-exec-tls"}))
    assert [edit.safe for edit in fix(asked, setup_dot_py="", pkg__jit_dot_py=flag).edits] == [False]
    assert [edit.safe for edit in fix(setup_dot_py="from pkg import jit\n", pkg__jit_dot_py=flag).edits] == [True]
    assert [edit.safe for edit in fix(setup_dot_py="", compile_dot_py=flag).edits] == [True]


def test_a_sentence_is_no_list_of_flags() -> None:
    (edit,) = fix(setup_dot_py=f"x = 'this file was compiled with {IE}'\n").edits
    assert edit.doubt == "it reads like a sentence"
    (edit,) = fix(setup_dot_py=f"x = 'cc -O2 {IE} -o x.o -c x.c'\n").edits
    assert edit.safe


def test_nanobinds_descriptors() -> None:
    pyproject = '[build-system]\nrequires = ["scikit-build-core", "nanobind"]\nbuild-backend = "scikit_build_core.build"\n'
    cmake = "find_package(nanobind CONFIG REQUIRED)\nnanobind_add_module(x x.cpp)\n"
    asked = Asked(frozenset({"nanobind"}), frozenset({"unsupported-descriptors"}))
    result = write(asked, pyproject_dot_toml=pyproject, CMakeLists_dot_txt=cmake)
    assert result["pyproject.toml"] == pyproject + '\n[tool.scikit-build.cmake.define]\nNB_HAS_MTLS_GNU2 = "OFF"\n'
    assert result["CMakeLists.txt"] == cmake
    assert fix(pyproject_dot_toml=pyproject, CMakeLists_dot_txt=cmake) == Proposal()
