"""Culprits in real objects: built here, from the package index, and decoys; the code that reads the slots beside objdump's listing.

The whole set is `make culprits`; here is a part of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from tests.support.cached import made_once
from tests.support.culprit_objects import OBJECTS
from tests.support.culprit_recipes import KnownObject, stripped
from tests.support.decoys import Decoy, decoys
from tests.support.inputs import sites_of
from tests.support.interpreters import installed, pinned
from tests.support.objdump import machine_sites
from tests.support.toolchain import require
from tests.support.wheel_builder import make_wheel
from tests.support.wheels import CACHE, fetch
from tls_wheel_guard import check_path, check_wheel
from tls_wheel_guard.culprits import Suspect
from tls_wheel_guard.findings import Finding

pytestmark = [pytest.mark.network, pytest.mark.compiler]

GOMP = ("-Wl,--no-as-needed", "-lgomp")
OWN = '__thread int own __attribute__((tls_model("initial-exec")));\nint touch_own(int n) { return own += n; }\n'


def findings(path: Path) -> list[Finding]:
    return [f for f in check_wheel(path).findings if f.rule in ("initial-exec-tls", "foreign-initial-exec")]


def sure(suspects: tuple[Suspect, ...]) -> list[str]:
    return [s.match.culprit.id for s in suspects if s.match.confidence != "possible"]


def compiled(folder: Path, source: str, *flags: str, compiler: str = "gcc") -> Path:
    require(compiler)
    (folder / "native.c").write_text(source)
    output = folder / "native.so"
    command = [compiler, "-shared", "-fPIC", "-O2", *flags, "-o", str(output), str(folder / "native.c")]
    subprocess.run(command, check=True, capture_output=True)
    return output


@pytest.mark.parametrize("known", [known for known in OBJECTS if known.small], ids=lambda known: known.name)
def test_known_object_whole_and_stripped(known: KnownObject, tmp_path: Path) -> None:
    plain = tmp_path / "native.so"
    plain.write_bytes(known.path().read_bytes())
    (finding,) = findings(plain)
    assert sure(finding.culprits) == [known.culprit]
    plain.write_bytes(stripped(known.path(), known.machine, tmp_path).read_bytes())
    (finding,) = findings(plain)
    assert sure(finding.culprits) == [known.culprit]


@pytest.mark.parametrize("decoy", [d for d in decoys() if not d.long], ids=lambda decoy: decoy.name)
def test_decoy_names_nobody_for_sure(decoy: Decoy, tmp_path: Path) -> None:
    for kind, wheel in decoy.wheels(tmp_path):
        found = findings(wheel)
        assert found, f"{decoy.name} {kind} has no initial-exec"
        assert [sure(finding.culprits) for finding in found] == [[]] * len(found), kind


@pytest.mark.parametrize("known", [k for k in OBJECTS if k.small and k.machine in ("x86_64", "aarch64")], ids=lambda known: known.name)
def test_sites_are_those_of_objdump(known: KnownObject) -> None:
    (found,) = sites_of(known.path()).values()
    listed = machine_sites(known.path(), known.machine, {slot for slot, _ in found.variables})
    assert {site.address for site in found.sites} == listed
    assert found.doubts == ()


@pytest.mark.parametrize(
    ("requirement", "platform", "python", "member", "count"),
    [
        ("scikit-learn==1.3.2", "manylinux2014_x86_64", "3.11", "libgomp", 174),
        ("scikit-learn==1.3.2", "manylinux2014_aarch64", "3.11", "libgomp", 149),
        ("cachebox==5.2.0", "manylinux2014_x86_64", "3.11", "_core", 19),
        ("cachebox==5.2.0", "musllinux_1_2_x86_64", "3.11", "_core", 23),
        ("cachebox==5.2.0", "manylinux2014_aarch64", "3.11", "_core", 45),
        ("cachebox==5.2.0", "musllinux_1_2_aarch64", "3.11", "_core", 23),
    ],
)
def test_sites_of_real_wheels(requirement: str, platform: str, python: str, member: str, count: int) -> None:
    found = {name: sites for name, sites in sites_of(fetch(requirement, platform, python)).items() if member in name}
    ((name, sites),) = found.items()
    assert len(sites.sites) == count, name
    assert sites.doubts == ()
    assert all(site.function is not None for site in sites.sites)


def test_source_lines_come_from_debug_information(tmp_path: Path) -> None:
    for version in ("-gdwarf-4", "-gdwarf-5"):
        (sites,) = sites_of(compiled(tmp_path, OWN, version)).values()
        assert {site.line for site in sites.sites} == {"native.c:2"}
        assert {site.function.name for site in sites.sites if site.function} == {"touch_own"}


def test_other_machines_are_said_to_be_not_decoded(tmp_path: Path) -> None:
    (sites,) = sites_of(compiled(tmp_path, OWN, compiler="s390x-linux-gnu-gcc")).values()
    assert not sites.decoded


def test_command_lines_name_a_flag_and_objects_for_programs(tmp_path: Path) -> None:
    flag = compiled(tmp_path, "__thread int own;\nint touch_own(int n) { return own += n; }\n", "-g", "-ftls-model=initial-exec")
    (finding,) = findings(flag)
    assert sure(finding.culprits) == ["compiler-flag"]
    for flags in (("-g", "-fPIE"), ("-g", "-fno-pic")):
        objects = compiled(tmp_path, "extern __thread int other;\nint touch(int n) { return other += n; }\n", *flags)
        (finding,) = findings(objects)
        assert sure(finding.culprits) == ["program-objects"]


def test_fpic_behind_fpie_cures_it(tmp_path: Path) -> None:
    source = "extern __thread int other;\nint touch(int n) { return other += n; }\n"
    assert findings(compiled(tmp_path, source, "-fPIE"))
    assert not findings(compiled(tmp_path, source, "-fPIE", "-fPIC"))


def test_mold_nodlopen(tmp_path: Path) -> None:
    require("mold")
    source = '__attribute__((visibility("hidden"))) __thread int own;\nint touch_own(int n) { return own += n; }\n'
    path = compiled(tmp_path, source, "-fuse-ld=mold", "-Wl,-z,nodlopen")
    (finding,) = findings(path)
    assert sure(finding.culprits) == ["nodlopen"]
    assert not findings(compiled(tmp_path, source, "-fuse-ld=mold"))


def test_an_interposer_is_told_to_stay(tmp_path: Path) -> None:
    functions = "void *malloc(unsigned long n) { (void)n; return 0; }\nvoid free(void *p) { (void)p; }\n"
    (finding,) = findings(compiled(tmp_path, "#define own_model\n" + functions + OWN, "-fno-builtin"))
    assert finding.hints[0].text.startswith("it exports malloc and free")


def test_graft_to_come(tmp_path: Path) -> None:
    path = compiled(tmp_path, "int omp_get_thread_num(void);\nint number(void) { return omp_get_thread_num(); }\n", *GOMP)
    for tag, expected in (("cp312-cp312-linux_x86_64", 1), ("cp312-cp312-manylinux_2_36_x86_64", 0)):
        found = [
            f for f in check_wheel(make_wheel(tmp_path, {"pkg/_native.so": path.read_bytes()}, tag)).findings if f.rule == "grafted-initial-exec"
        ]
        assert len(found) == expected
    # What is in the wheel already is no graft.
    library = next(line.split()[2] for line in subprocess.check_output(["ldd", str(path)], text=True).splitlines() if "libgomp" in line)
    members = {"pkg/_native.so": path.read_bytes(), "pkg/libgomp.so.1": Path(library).read_bytes()}
    rules = [f.rule for f in check_wheel(make_wheel(tmp_path, members, "cp312-cp312-linux_x86_64", name="both")).findings]
    assert "initial-exec-tls" in rules
    assert "grafted-initial-exec" not in rules


def test_auditwheel_does_what_the_note_says_and_exclude_prevents_it(tmp_path: Path) -> None:
    def make(work: Path) -> None:
        installed(work / "site", "auditwheel")

    site = made_once(CACHE / pinned("auditwheel", "auditwheel"), make) / "site"
    path = compiled(
        tmp_path, "int omp_get_thread_num(void);\nvoid *PyInit__native(void) { return omp_get_thread_num() ? (void *)0 : (void *)0; }\n", *GOMP
    )
    native, info, tag = "pkg/_native.cpython-312-x86_64-linux-gnu.so", "pkg-1.0.dist-info", "cp312-cp312-linux_x86_64"
    members = {
        native: path.read_bytes(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n",
    }
    # auditwheel looks at the files that RECORD lists.
    members[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*members, f"{info}/RECORD")).encode()
    wheel = make_wheel(tmp_path, members, tag, metadata=False)
    environment = {**os.environ, "PYTHONPATH": str(site), "PATH": f"{site / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    repaired = {}
    for name, words in (("whole", ()), ("excluded", ("--exclude", "libgomp.so.1"))):
        command = [sys.executable, "-m", "auditwheel", "repair", "-w", str(tmp_path / name), *words, str(wheel)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        (repaired[name],) = (tmp_path / name).glob("*.whl")
    (finding,) = findings(repaired["whole"])
    assert sure(finding.culprits) == ["libgomp"]
    assert not findings(repaired["excluded"])


def test_modules_below_a_folder_are_traced_too(tmp_path: Path) -> None:
    known = next(known for known in OBJECTS if known.name == "rpmalloc-2.0-gcc")
    (tmp_path / "site" / "pkg").mkdir(parents=True)
    (tmp_path / "site" / "pkg" / "native.so").write_bytes(known.path().read_bytes())
    (report,) = check_path(tmp_path / "site", tree=True)
    assert [sure(f.culprits) for f in report.findings if f.rule == "initial-exec-tls"] == [["rpmalloc"]]


def run_guard(
    *words: str, code: str = "from tls_wheel_guard.__main__ import main; import sys; sys.exit(main(sys.argv[1:]))"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_check_never_imports_capstone_and_a_wheel_without_initial_exec_loads_nothing_of_this(tmp_path: Path) -> None:
    report = (
        "import sys; from tls_wheel_guard.__main__ import main\n"
        "code = main(sys.argv[1:])\n"
        "lazy = ['capstone', *(f'tls_wheel_guard.{name}' for name in"
        " ('culprits.advice', 'machine_code', 'commands.culprits', 'culprits.collect', 'culprits.data_files', 'commands.show'))]\n"
        "print('LOADED', *(name for name in lazy if name in sys.modules)); sys.exit(code)"
    )
    clean = compiled(tmp_path, "__thread int own;\nint touch_own(int n) { return own += n; }\n")
    assert "LOADED\n" in run_guard("check", "--no-config", str(clean), code=report).stdout
    taken = compiled(tmp_path, OWN)
    shown = run_guard("check", "--no-config", str(taken), code=report).stdout
    assert "tls_wheel_guard.commands.culprits" in shown
    assert "capstone" not in shown


def test_the_sbom_in_the_wheel_names_the_crate_and_the_build_system(tmp_path: Path) -> None:
    module = next(known for known in OBJECTS if known.name == "mimalloc-crate-0.1.43").path().read_bytes()
    crates = [{"type": "library", "name": name, "version": version} for name, version in (("mimalloc", "0.1.43"), ("libmimalloc-sys", "0.1.39"))]
    bom = json.dumps({"bomFormat": "CycloneDX", "components": [{"type": "library", "name": "pkg", "version": "1", "components": crates}]})
    members = {"pkg/_native.so": module, "pkg-1.0.dist-info/sboms/pkg.cyclonedx.json": bom.encode()}
    (finding,) = findings(make_wheel(tmp_path, members))
    assert finding.parts[1].startswith(
        "mimalloc 2.x, linked in through the Rust crate libmimalloc-sys 0.1.39, brings it in: the relocations reach"
    )
    assert finding.hints[0].text.startswith("cargo add mimalloc --features local_dynamic_tls")


def test_documents_follow_the_schema(tmp_path: Path) -> None:
    schema = json.loads(resources.files("tls_wheel_guard.report").joinpath("schema.json").read_text(encoding="utf-8"))
    path = tmp_path / "native.so"
    path.write_bytes(next(known for known in OBJECTS if known.name == "rpmalloc-2.0-gcc").path().read_bytes())
    checked = json.loads(run_guard("check", "--format", "json", "--no-config", str(path)).stdout)
    jsonschema.validate(checked, schema)
    (culprit,) = checked["wheels"][0]["findings"][0]["culprits"]
    assert (culprit["id"], culprit["confidence"]) == ("rpmalloc", "certain")
    assert culprit["evidence"]
    assert culprit["remedies"]
    shown = json.loads(run_guard("show", "--sites", "--format", "json", "--no-config", str(path)).stdout)
    jsonschema.validate(shown, schema)
    sites = shown["wheels"][0]["modules"][0]["access_sites"]
    assert sites["decoded"]
    assert {site["function"] for site in sites["sites"]} >= {"rpmalloc_thread_finalize"}


def test_sites_without_capstone_say_what_to_install(tmp_path: Path) -> None:
    path = compiled(tmp_path, OWN)
    blocked = "import sys; sys.modules['capstone'] = None\nfrom tls_wheel_guard.__main__ import main; sys.exit(main(sys.argv[1:]))"
    run = run_guard("show", "--sites", "--no-config", str(path), code=blocked)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "hint: pip install 'tls-wheel-guard[repair]'" in run.stderr


def test_hostile_second_pass_is_silent(tmp_path: Path) -> None:
    """Tables that only tools read may be broken in any way: the finding stays, and nothing else is said."""
    data = bytearray(compiled(tmp_path, OWN, "-g").read_bytes())
    for position in range(int.from_bytes(data[40:48], "little"), len(data), 7):
        broken = bytearray(data)
        broken[position] ^= 0xFF
        path = tmp_path / "broken.so"
        path.write_bytes(broken)
        assert len(findings(path)) == 1, position
