"""Shared objects of known culprits, and such that were built with a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.culprit_recipes import (
    HEADER,
    KnownObject,
    autotools,
    by_cmake,
    cargo,
    compiled,
    debian_go,
    go,
    gomp,
    in_wheel,
    mimalloc,
    mimalloc_by_cmake,
    packaged,
    zig,
)

__all__ = ["CURED", "OBJECTS"]


def _mimalloc() -> Iterator[KnownObject]:
    crates = (
        ("22", "18", "", "1.6.7"),
        ("26", "22", "", "1.7.2"),
        ("30", "26", "", "2.0.6"),
        ("39", "35", "", "2.1.2"),
        ("43", "39", "", "2.1.7"),
        ("46", "42", "", "2.2.3"),
        ("48", "44", "", "2.2.4"),
        ("48", "44", "v3", "3.1.5"),
        ("52", "49", "v2", "2.3.2"),
        ("52", "49", "", "3.3.2"),
    )
    for number, system, feature, inside in crates:
        features = f'"{feature}"' if feature else ""
        dependency = f'mimalloc = {{ version = "=0.1.{number}", features = [{features}] }}\nlibmimalloc-sys = "=0.1.{system}"'
        name = f"mimalloc-crate-0.1.{number}" + (f"-{feature}" if feature else "")
        made = f"crate mimalloc 0.1.{number} (mimalloc {inside})"
        yield KnownObject(name, "mimalloc", made, cargo(dependency, "mimalloc::MiMalloc = mimalloc::MiMalloc"), small=number == "43")
    cross = {
        "aarch64": "aarch64-linux-gnu-gcc",
        "i386": "i686-linux-gnu-gcc",
        "riscv64": "riscv64-linux-gnu-gcc",
        "arm": "arm-linux-gnueabihf-gcc",
    }
    for version, place, inside in (("0.1.22", "mimalloc", "1.7.2"), ("0.1.39", "mimalloc", "2.1.7"), ("0.1.49", "mimalloc/v3", "3.3.2")):
        for compiler in ("gcc", "clang-19", "musl-gcc"):
            flags = ("-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu") if compiler == "musl-gcc" else ()
            yield KnownObject(
                f"mimalloc-{inside}-{compiler}",
                "mimalloc",
                f"mimalloc {inside}, {compiler}",
                mimalloc(version, place, compiler, flags=flags),
                small=compiler == "clang-19",
            )
        for machine, compiler in cross.items():
            yield KnownObject(
                f"mimalloc-{inside}-{machine}",
                "mimalloc",
                f"mimalloc {inside}, gcc for {machine}",
                mimalloc(version, place, compiler),
                machine,
                small=machine == "aarch64" or (machine, inside) == ("i386", "2.1.7"),
            )


def _mimalloc_otherwise() -> Iterator[KnownObject]:
    """mimalloc with flags and compilers that no pattern was looked at with: the patterns were written before."""
    ways: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("gcc", "x86_64", ("-O0",)),
        ("gcc", "x86_64", ("-Os",)),
        ("gcc", "x86_64", ("-O3", "-flto")),
        ("clang-14", "x86_64", ("-O1",)),
        ("clang-19", "x86_64", ("-Oz",)),
        ("aarch64-linux-gnu-gcc", "aarch64", ("-O0",)),
        ("aarch64-linux-gnu-gcc", "aarch64", ("-Os", "-fdata-sections", "-ffunction-sections", "-Wl,--gc-sections")),
        ("powerpc64le-linux-gnu-gcc", "ppc64le", ()),
        ("s390x-linux-gnu-gcc", "s390x", ()),
    )
    yield KnownObject("mimalloc-2.0.6-cmake", "mimalloc", "mimalloc 2.0.6, its CMakeLists.txt, overriding malloc", mimalloc_by_cmake("0.1.26"))
    for version, place, inside in (("0.1.26", "mimalloc", "2.0.6"), ("0.1.44", "mimalloc/v2", "2.2.4"), ("0.1.44", "mimalloc/v3", "3.1.5")):
        for compiler, machine, flags in ways:
            name = f"mimalloc-{inside}-{compiler}{''.join(flags[:2])}"
            made = f"mimalloc {inside}, {compiler} {' '.join(flags)}".rstrip()
            yield KnownObject(name, "mimalloc", made, mimalloc(version, place, compiler, flags=flags), machine)


def _jemalloc() -> Iterator[KnownObject]:
    for name, version, inside in (
        ("jemallocator", "0.3.2", "5.2.1"), ("tikv-jemallocator", "0.4.3", "5.2.1"), ("tikv-jemallocator", "0.5.4", "5.3.0"),
        ("tikv-jemallocator", "0.6.1", "5.3.0"), ("tikv-jemallocator", "0.7.0", "5.3.1"),
    ):  # fmt: skip
        path = name.replace("-", "_")
        kind = "Jemalloc"
        yield KnownObject(
            f"jemalloc-{name}-{version}",
            "jemalloc",
            f"crate {name} {version} ({inside})",
            cargo(f'{name} = "={version}"', f"{path}::{kind} = {path}::{kind}", MAKEFLAGS="-j2"),
        )
    yield KnownObject(
        "jemalloc-5.3.0-gcc",
        "jemalloc",
        "Debian source 5.3.0, gcc",
        autotools("jemalloc", "libjemalloc.so.2", "--disable-cxx", target="build_lib_shared"),
    )
    yield KnownObject(
        "jemalloc-5.3.0-clang",
        "jemalloc",
        "Debian source 5.3.0, clang 19, no statistics",
        autotools(
            "jemalloc",
            "libjemalloc.so.2",
            "--disable-cxx",
            "--disable-stats",
            "--with-jemalloc-prefix=pkg_",
            target="build_lib_shared",
            CC="clang-19",
        ),
    )


def _go() -> Iterator[KnownObject]:
    yield KnownObject("go-1.19-debian", "go", "Go 1.19, c-shared", debian_go)
    for version in ("go1.21.13", "go1.24.1"):
        yield KnownObject(f"go-{version}", "go", f"{version}, c-shared", go(version))
    yield KnownObject("go-local", "go", "the machine's Go, c-shared", go("local"), small=True)
    yield KnownObject("go-local-s-w", "go", "the machine's Go, -ldflags='-s -w'", go("local", flags="-s -w"))
    yield KnownObject(
        "go-local-arm64", "go", "the machine's Go for arm64", go("local", arch="arm64", compiler="aarch64-linux-gnu-gcc"), "aarch64"
    )
    yield KnownObject("go-local-386", "go", "the machine's Go for 386", go("local", arch="386", compiler="i686-linux-gnu-gcc"), "i386")


def _libgomp() -> Iterator[KnownObject]:
    for suite, version in (("bookworm", "12"), ("trixie", "14"), ("sid", "15")):
        yield KnownObject(f"libgomp-{version}-x86_64", "libgomp", f"GCC {version} source, gcc", gomp(suite, version))
    yield KnownObject("libgomp-12-aarch64", "libgomp", "GCC 12 source, gcc for aarch64", gomp("bookworm", "12", "aarch64-linux-gnu"), "aarch64")
    for suite in ("bookworm", "sid"):
        for arch, machine in (("amd64", "x86_64"), ("arm64", "aarch64")):
            yield KnownObject(
                f"libgomp-{suite}-{machine}",
                "libgomp",
                f"Debian {suite}'s binary for {machine}",
                packaged(suite, arch, "libgomp1", "libgomp.so.1.*"),
                machine,
                small=suite == "bookworm",
            )


def _runtimes() -> Iterator[KnownObject]:
    """Libraries of the system that reach their variables by initial-exec, as Debian ships them."""
    mesa = (("libglvnd0", "libGLdispatch.so.0.*"), ("libglapi-mesa", "libglapi.so.0.*"))
    for package, pattern in mesa:
        for arch, machine in (("amd64", "x86_64"), ("arm64", "aarch64")):
            name = f"{package}-{machine}"
            made = f"Debian bookworm's {package} for {machine}"
            yield KnownObject(name, "mesa", made, packaged("bookworm", arch, package, pattern), machine, small=machine == "x86_64")
    for package, pattern in (("libasan8", "libasan.so.8.*"), ("libtsan2", "libtsan.so.2.*"), ("libubsan1", "libubsan.so.1.*")):
        made = f"Debian bookworm's {package} (GCC 12)"
        yield KnownObject(f"{package}-x86_64", "sanitizers", made, packaged("bookworm", "amd64", package, pattern))


def _small_allocators() -> Iterator[KnownObject]:
    for compiler in ("gcc", "clang-19"):
        extra = ("-D_GNU_SOURCE", "-std=gnu11") if compiler == "gcc" else ("-D_GNU_SOURCE",)
        for version, made in (("0.2.0+1.4.1", "1.4.1"), ("0.2.3+b097fd0", "2.0")):
            yield KnownObject(
                f"rpmalloc-{made}-{compiler}",
                "rpmalloc",
                f"rpmalloc {made}, {compiler}",
                compiled("rpmalloc-sys", version, "rpmalloc/rpmalloc/rpmalloc.c", compiler, "-O2", *extra),
                small=(made, compiler) == ("2.0", "gcc"),
            )
    for compiler in ("g++", "clang++-19"):
        for version in ("0.24.3", "0.29.0", "0.30.1"):
            yield KnownObject(
                f"tracy-{version}-{compiler}",
                "tracy",
                f"crate tracy-client-sys {version}, {compiler}",
                compiled("tracy-client-sys", version, "tracy/TracyClient.cpp", compiler, "-O1", "-DTRACY_ENABLE", "-w"),
                small=(version, compiler) == ("0.24.3", "g++"),
            )


def _others() -> Iterator[KnownObject]:
    for name, version, feature in (("snmalloc-rs", "0.3.8", ""), ("snmalloc-rs", "0.7.4", ""), ("snmalloc-rs", "0.7.6", "")):
        yield KnownObject(
            f"snmalloc-{version}{feature}",
            "snmalloc",
            f"crate {name} {version}",
            cargo(f'{name} = "={version}"', "snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc"),
        )
    for compiler, cxx in (("gcc", "g++"), ("clang-19", "clang++-19")):
        for what in ("tcmalloc_minimal", "tcmalloc"):
            yield KnownObject(
                f"gperftools-{what}-{compiler}",
                "gperftools",
                f"gperftools 2.10 lib{what}, {compiler}",
                by_cmake("google-perftools", what, CC=compiler, CXX=cxx),
            )
    for version in ("1.10.0", "1.15.0"):
        for platform, machine in (("manylinux2014_x86_64", "x86_64"), ("manylinux2014_aarch64", "aarch64")):
            build = in_wheel(f"memray=={version}", platform, "3.11", "_memray.*.so")
            yield KnownObject(f"memray-{version}-{machine}", "memray", f"memray {version}'s wheel for {machine}, built elsewhere", build, machine)
    for version in ("0.9.1", "0.10.1.post1", "0.11.0"):
        yield KnownObject(
            f"zig-{version}",
            "zig-libc",
            f"zig cc {version} for glibc 2.17",
            zig(version, "-target", "x86_64-linux-gnu.2.17"),
            small=version == "0.11.0",
        )
    yield KnownObject(
        "zig-0.11.0-aarch64", "zig-libc", "zig cc 0.11.0 for aarch64, glibc 2.17", zig("0.11.0", "-target", "aarch64-linux-gnu.2.17"), "aarch64"
    )


_MADE = (_mimalloc, _mimalloc_otherwise, _jemalloc, _go, _libgomp, _runtimes, _small_allocators, _others)
OBJECTS: tuple[KnownObject, ...] = tuple(known for made in _MADE for known in made())


def _with_header(crate_name: str, version: str, sources: str, *command: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / "tls-guard.h").write_text(HEADER)
        return compiled(crate_name, version, sources, *command, "-include", str(folder / "tls-guard.h"))(folder)

    return build


def _cured() -> Iterator[KnownObject]:
    mimalloc_use, snmalloc_use = "mimalloc::MiMalloc = mimalloc::MiMalloc", "snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc"
    jemalloc_use = "tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc"
    for number, system, features in (
        ("22", "18", '"local_dynamic_tls"'),
        ("43", "39", '"local_dynamic_tls"'),
        ("52", "49", '"local_dynamic_tls"'),
        ("52", "49", '"v2", "local_dynamic_tls"'),
    ):
        dependency = f'mimalloc = {{ version = "=0.1.{number}", features = [{features}] }}\nlibmimalloc-sys = "=0.1.{system}"'
        name = f"cured-mimalloc-0.1.{number}" + ("-v2" if "v2" in features else "")
        yield KnownObject(name, "mimalloc", f"mimalloc 0.1.{number}, features {features}", cargo(dependency, mimalloc_use))
    dependency = 'mimalloc = "=0.1.52"\nlibmimalloc-sys = "=0.1.49"'
    joined = 'mimalloc = "=0.1.52"\nlibmimalloc-sys = { version = "=0.1.49", features = ["local_dynamic_tls"] }'
    yield KnownObject("cured-mimalloc-joined", "mimalloc", "mimalloc 0.1.52, the feature on libmimalloc-sys alone", cargo(joined, mimalloc_use))
    made = "mimalloc 0.1.52, CFLAGS=-ftls-model=global-dynamic, newest cc"
    yield KnownObject("cured-mimalloc-cflags", "mimalloc", made, cargo(dependency, mimalloc_use, CFLAGS="-ftls-model=global-dynamic"))
    source_cure = mimalloc("0.1.39", "mimalloc", "gcc", flags=("-ftls-model=local-dynamic",))
    yield KnownObject("cured-mimalloc-source", "mimalloc", "mimalloc 2.1.7, -ftls-model=local-dynamic as the last flag", source_cure)
    cmake = mimalloc_by_cmake("0.1.26", "-DMI_LOCAL_DYNAMIC_TLS=ON")
    yield KnownObject("cured-mimalloc-cmake", "mimalloc", "mimalloc 2.0.6, -DMI_LOCAL_DYNAMIC_TLS=ON", cmake)
    cached = autotools("jemalloc", "libjemalloc.so.2", "--disable-cxx", target="build_lib_shared", je_cv_tls_model="no")
    yield KnownObject("cured-jemalloc-cache", "jemalloc", "jemalloc 5.3.0, je_cv_tls_model=no", cached)
    for features in ('"local_dynamic_tls"', '"notls"', '"notls", "local_dynamic_tls"'):
        dependency = f'snmalloc-rs = {{ version = "=0.7.6", features = [{features}] }}'
        name = "cured-snmalloc-" + features.replace('"', "").replace(", ", "+")
        yield KnownObject(name, "snmalloc", f"snmalloc-rs 0.7.6, features {features}", cargo(dependency, snmalloc_use))
    header = _with_header("rpmalloc-sys", "0.2.3+b097fd0", "rpmalloc/rpmalloc/rpmalloc.c", "gcc", "-O2", "-D_GNU_SOURCE")
    yield KnownObject("cured-rpmalloc", "rpmalloc", "rpmalloc 2.0 with the header", header)
    header = _with_header("tracy-client-sys", "0.24.3", "tracy/TracyClient.cpp", "g++", "-O1", "-DTRACY_ENABLE", "-w")
    yield KnownObject("cured-tracy", "tracy", "tracy-client-sys 0.24.3 with the header", header)
    yield KnownObject("cured-zig", "zig-libc", "zig cc 0.12.1 for glibc 2.17", zig("0.12.1", "-target", "x86_64-linux-gnu.2.17"))
    rebuilt = gomp("sid", "15", CFLAGS="-g -O2 -ftls-model=global-dynamic")
    yield KnownObject("cured-libgomp", "libgomp", "GCC 15's libgomp, CFLAGS=-ftls-model=global-dynamic", rebuilt)
    flags = go("local", flags="-extldflags=-ftls-model=global-dynamic", cgo="-ftls-model=global-dynamic")
    yield KnownObject("cured-go", "go", "the machine's Go, CGO_CFLAGS and -extldflags with -ftls-model=global-dynamic", flags)
    configured = autotools("jemalloc", "libjemalloc.so.2", "--disable-cxx", "--disable-initial-exec-tls", target="build_lib_shared")
    yield KnownObject("cured-jemalloc-configure", "jemalloc", "jemalloc 5.3.0, --disable-initial-exec-tls", configured)
    dependency = 'tikv-jemallocator = { version = "=0.7.0", features = ["disable_initial_exec_tls"] }'
    made = 'tikv-jemallocator 0.7.0, feature "disable_initial_exec_tls"'
    yield KnownObject("cured-jemalloc-0.7.0", "jemalloc", made, cargo(dependency, jemalloc_use, MAKEFLAGS="-j2"))


CURED: tuple[KnownObject, ...] = tuple(_cured())
"""Objects that were built with a remedy: some are cured, some show that it is none."""
