"""Modules that look like a culprit's and take their initial-exec TLS from elsewhere: nobody may be named for sure."""

from __future__ import annotations

import json
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.culprit_recipes import MIMALLOC_FLAGS, crate
from tests.support.toolchain import require
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.culprits.data_files import known_culprits

__all__ = ["Decoy", "decoys"]

OWN = """
static __thread int own __attribute__((tls_model("initial-exec")));
int touch_own(int n) { own += n; return own; }
"""
OWN_POINTER = """
static __thread void *own __attribute__((tls_model("initial-exec")));
void *touch_own(void *p) { void *old = own; own = p; return old; }
"""
BOM = {"bomFormat": "CycloneDX", "specVersion": "1.5"}


@dataclass(frozen=True)
class Decoy:
    """What it looks like, its C source, more compiler words, and what is beside it in the wheel. ``long``: not for make test."""

    name: str
    source: str
    flags: tuple[str, ...] = ()
    file: str = "pkg/_native.cpython-312-x86_64-linux-gnu.so"
    members: dict[str, bytes] = field(default_factory=dict)
    compiler: str = "gcc"
    strip: str = "strip"
    tag: str = "cp312-cp312-manylinux_2_28_x86_64"
    long: bool = False

    def wheels(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """A wheel with the module whole, and one with it stripped."""
        require(self.compiler)
        folder.mkdir(exist_ok=True)
        source, output = folder / f"{self.name}.c", folder / f"{self.name}.so"
        source.write_text(self.source)
        command = [self.compiler, "-shared", "-fPIC", "-O2", "-w", *self.flags, "-o", str(output), str(source), "-lpthread"]
        subprocess.run(command, check=True, capture_output=True)
        for kind in ("whole", "stripped"):
            if kind == "stripped":
                subprocess.run([self.strip, "-s", str(output)], check=True)
            (folder / kind).mkdir(exist_ok=True)
            yield kind, make_wheel(folder / kind, {self.file: output.read_bytes(), **self.members}, self.tag, name=self.name)


def _quoted(text: str) -> str:
    return json.dumps(text)


def _texts(texts: tuple[str, ...]) -> str:
    return "const char *const texts[] = {" + ", ".join(_quoted(t) for t in texts) + "};\n"


def _strings() -> Iterator[Decoy]:
    """A culprit's texts, as a log reader or a wrapper would have them."""
    for culprit in known_culprits():
        if culprit.words.strings:
            texts = (*culprit.words.strings, *(text for text, _ in culprit.by_string))
            yield Decoy(f"texts_of_{culprit.id.replace('-', '_')}", _texts(texts) + OWN)


def _like_named() -> Iterator[Decoy]:
    """A variable with a culprit's own name that is reached dynamically, and names that only resemble one."""
    for name, kind in (
        ("_mi_heap_default", "void *"), ("je_tsd_tls", "struct { char b[2632]; } "), ("gomp_tls_data", "struct { char b[120]; } "),
        ("_memory_thread_heap", "void *"), ("_ZN8tcmalloc11ThreadCache17threadlocal_data_E", "struct { char b[16]; } "),
        ("_ZN6memray12tracking_api14RecursionGuard8isActiveE", "char "), ("__mi_theap_default", "void *"),
    ):  # fmt: skip
        yield Decoy(f"dynamic{name}", f"__thread {kind}{name};\nvoid *reach_it(void) {{ return &{name}; }}\n{OWN}")
    for name in ("my_mi_heap_default", "_mi_heap_default_backup", "tsd_tlsx", "gomp_tls_data_copy", "recurse", "thread_tld", "tid", "errno_copy"):
        yield Decoy(
            f"like_{name}",
            f'__thread int {name} __attribute__((tls_model("initial-exec")));\nint reach_it(int n) {{ return {name} += n; }}\n'
            + _texts(("mimalloc: warning: ", "<jemalloc>: ", "libgomp: ")),
        )


def _functions() -> Iterator[Decoy]:
    """A culprit's functions, defined by something else."""
    gomp = "".join(f"int {name}(void) {{ return 0; }}\n" for name in ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "GOMP_task"))
    texts = _texts(("libgomp: ", "GOMP_CPU_AFFINITY"))
    yield Decoy("gomp_shim", gomp + texts + OWN, ("-Wl,-soname,libgomp.so.1",), "pkg.libs/libgomp-0a1b2c3d.so.1.0.0")
    mi = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in ("mi_malloc", "mi_free", "mi_version"))
    yield Decoy("mimalloc_shim", mi + _texts(("mimalloc: warning: ",)) + OWN_POINTER, ("-Wl,-soname,libmimalloc.so.2",), "pkg/libmimalloc.so.2")
    rp = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in ("rpmalloc", "rpfree", "rpmalloc_initialize"))
    yield Decoy("rpmalloc_shim", rp + OWN_POINTER, ("-Wl,-soname,librpmalloc.so",), "pkg/librpmalloc.so")
    tracy = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in ("___tracy_emit_zone_begin", "___tracy_connected"))
    asan = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in ("__asan_init", "__tsan_init", "__ubsan_handle_add_overflow"))
    yield Decoy("sanitizer_shim", asan + _texts(("AddressSanitizer", "ThreadSanitizer")) + OWN, ("-Wl,-soname,libasan.so.8",), "pkg/libasan.so.8")
    mesa = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in ("_glapi_get_dispatch", "__egl_Main"))
    yield Decoy("mesa_shim", mesa + _texts(("LIBGL_DRIVERS_PATH",)) + OWN_POINTER, ("-Wl,-soname,libglapi.so.0",), "pkg/libglapi.so.0")
    omp = "".join(f"int {name}(void) {{ return 0; }}\n" for name in ("__kmpc_fork_call", "omp_get_thread_num"))
    yield Decoy("libomp_shim", omp + _texts(("KMP_AFFINITY", "OMP: Info #")) + OWN, ("-Wl,-soname,libomp.so.5",), "pkg/libomp.so.5")
    yield Decoy("tracy_shim", tracy + _texts(("TRACY_PORT",)) + OWN_POINTER)


def _bills() -> Iterator[Decoy]:
    """A bill of materials that names an allocator's crate, which was built without initial-exec."""
    packages = [{"name": n, "version": v} for n, v in (("libmimalloc-sys", "0.1.39"), ("tikv-jemalloc-sys", "0.6.0"), ("snmalloc-sys", "0.7.6"))]
    bom = json.dumps({**BOM, "components": packages}).encode()
    yield Decoy("in_the_sbom", OWN, members={"in_the_sbom-1.0.dist-info/sboms/pkg.cyclonedx.json": bom})
    audit = zlib.compress(json.dumps({"packages": packages}).encode())
    section = ", ".join(str(byte) for byte in audit)
    yield Decoy("auditable", f'__attribute__((section(".dep-v0"), used)) const unsigned char audit[] = {{{section}}};\n{OWN}')


def _go() -> Iterator[Decoy]:
    """Go's build information as a text, as a tool that looks for it would have it."""
    text = 'const char info[] __attribute__((aligned(16))) = "\\xff Go buildinf:\\x08\\x02" "0123456789012345" "\\x08go1.21.0";\n'
    yield Decoy("go_words", text + _texts(("Go cmd/compile ", "runtime.goexit")) + OWN_POINTER)


def _layouts() -> Iterator[Decoy]:
    """Variables of the same sizes."""
    pair = (
        "static const long empty[200] = {1};\nstatic __thread const void *heap IE = empty;\nstatic __thread char busy IE;\n"
        "const void *touch(const void *p) { const void *old = heap; if (busy) return 0; busy = 1; heap = p; busy = 0; return old; }\n"
    ).replace("IE", '__attribute__((tls_model("initial-exec")))')
    yield Decoy("same_sizes", pair)
    yield Decoy("same_sizes_and_texts", pair + _texts(("mimalloc: warning: ", "mimalloc: error: ")))
    big = 'static __thread char block[2632] __attribute__((tls_model("initial-exec"))) = {1};\nchar *touch(int n) { return &block[n]; }\n'
    yield Decoy("same_size_and_texts", big + _texts(("<jemalloc>: ", "<jemalloc>: Error")))


def _real() -> Iterator[Decoy]:
    """The real thing, built with its remedy, beside another variable."""
    root = crate("libmimalloc-sys", "0.1.39") / "c_src" / "mimalloc"
    flags = tuple(f for f in MIMALLOC_FLAGS if f not in {"-ftls-model=initial-exec", "-shared"})
    source = f'#include "{root}/src/static.c"\n{OWN}'
    cured = (*flags, "-O1", "-ftls-model=local-dynamic", "-I", str(root / "include"), "-I", str(root / "src"))
    yield Decoy("cured_mimalloc", source, cured)
    yield Decoy(
        "cured_mimalloc_aarch64", source, cured, compiler="aarch64-linux-gnu-gcc", strip="aarch64-linux-gnu-strip",
        tag="cp312-cp312-manylinux_2_28_aarch64", long=True,
    )  # fmt: skip
    yield Decoy("cured_mimalloc_pointer", source.replace(OWN, OWN_POINTER), cured, long=True)
    rpmalloc = crate("rpmalloc-sys", "0.2.3+b097fd0") / "rpmalloc" / "rpmalloc"
    header = '#define tls_model(x) __tls_model__("global-dynamic")\n'
    yield Decoy(
        "cured_rpmalloc", f'{header}#include "{rpmalloc}/rpmalloc.c"\n#undef tls_model\n{OWN_POINTER}', ("-D_GNU_SOURCE", "-I", str(rpmalloc))
    )


def decoys() -> tuple[Decoy, ...]:
    """All of them; the last ones need crates."""
    return (*_strings(), *_like_named(), *_functions(), *_bills(), *_go(), *_layouts(), *_real())
