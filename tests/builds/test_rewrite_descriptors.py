"""Projects that insist on TLS descriptors: a flag of their own, a target option, nanobind. Rewritten there are none, and the import works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.projects import Built, add_table, build, run, use_backend
from tests.support.toolchain import require
from tls_wheel_guard import check_wheel

pytestmark = [pytest.mark.compiler, pytest.mark.network]

NANOBIND = {
    "pyproject.toml": """
[build-system]
requires = ["scikit-build-core", "nanobind>=2.13"]
build-backend = "scikit_build_core.build"
[project]
name = "nb-keeps"
version = "1.0"
[tool.scikit-build]
cmake.build-type = "Debug"
""",
    "CMakeLists.txt": """
cmake_minimum_required(VERSION 3.18)
project(nb_keeps LANGUAGES CXX)
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
find_package(nanobind CONFIG REQUIRED)
nanobind_add_module(nb_keeps NB_SHARED nb_keeps.cpp)
set_target_properties(nb_keeps PROPERTIES INSTALL_RPATH "$ORIGIN")
install(TARGETS nb_keeps nanobind LIBRARY DESTINATION .)
""",
    "nb_keeps.cpp": """
#include <nanobind/nanobind.h>
static double weights[2] = {0.5};
NB_MODULE(nb_keeps, m) {
    m.def("scale", [](double x, double y) { weights[1] += 1; return x * y + weights[0]; });
}
""",
}
SETUPTOOLS = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "flag-keeps"
version = "1.0"
""",
    "setup.py": """
from setuptools import Extension, setup
setup(ext_modules=[Extension("flag_keeps", ["k.c"], extra_compile_args=["-mtls-dialect=gnu2"])], py_modules=[])
""",
    "k.c": """
#include <Python.h>
static __thread double weights[100] = {0.5};
static PyObject *scale(PyObject *self, PyObject *args) {
    double x, y;
    if (!PyArg_ParseTuple(args, "dd", &x, &y)) return NULL;
    double z = x * y;
    weights[1] += 1;
    return PyFloat_FromDouble(z + weights[0]);
}
static PyMethodDef methods[] = {{"scale", scale, METH_VARARGS, ""}, {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "flag_keeps", "", -1, methods};
PyMODINIT_FUNC PyInit_flag_keeps(void) { return PyModule_Create(&definition); }
""",
}


def project(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text.lstrip())
    return folder


def descriptors(built: Built) -> int:
    (wheel,) = built.wheels
    return sum(module.shared_object.dynamic.tlsdesc for module in check_wheel(wheel).modules)


def works(built: Built, name: str, folder: Path) -> bool:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), str(built.wheels[0])], check=True)
    script = f"import {name}; print({name}.scale(3.0, 4.0))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(folder)})
    return run.stdout.strip() == "12.5"


@pytest.mark.parametrize("compiler", ["gcc", "clang-19"])
def test_a_flag_of_the_project(compiler: str, new_python: str, tmp_path: Path) -> None:
    environment = {"CC": require(compiler)}
    plain = build(project(tmp_path / "plain", SETUPTOOLS), "pip", python=new_python, environment=environment)
    assert descriptors(plain) > 0, plain.output
    guarded = project(tmp_path / "guarded", SETUPTOOLS)
    use_backend(guarded, 'action = "rewrite"')
    rewritten = build(guarded, "pip", python=new_python, environment=environment)
    assert descriptors(rewritten) == 0, rewritten.output
    assert works(rewritten, "flag_keeps", tmp_path / "site")


def test_nanobind(tmp_path: Path) -> None:
    require("cmake")
    # What its page advises.
    text = NANOBIND["pyproject.toml"] + '[tool.scikit-build.cmake.define]\nNB_HAS_MTLS_GNU2 = "OFF"\n'
    cured = build(project(tmp_path / "cured", NANOBIND | {"pyproject.toml": text}), "pip", isolated=True)
    assert descriptors(cured) == 0, cured.output
    # What it says does not help.
    flags = build(project(tmp_path / "flags", NANOBIND), "pip", isolated=True, environment={"CXXFLAGS": "-mtls-dialect=gnu"})
    assert descriptors(flags) > 0
    # The guard as a user of `build --` meets it: the same command, rewritten.
    guarded = project(tmp_path / "guarded", NANOBIND)
    add_table(guarded, 'action = "rewrite"')
    command = [sys.executable, "-m", "tls_wheel_guard", "build", "--", sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", "out", "."]
    code, output = run(command, guarded)
    rewritten = Built(code, output, tuple((guarded / "out").glob("*.whl")))
    assert descriptors(rewritten) == 0, output
    assert works(rewritten, "nb_keeps", tmp_path / "site")
