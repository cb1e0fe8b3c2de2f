"""What is the same thing in many wheels: a project, a module without its version and tags, a finding."""

from __future__ import annotations

import re

from tls_wheel_guard.findings import Finding, Report

__all__ = ["culprits_of", "fingerprint", "import_name", "project_of", "release_of", "stem_of", "subject_of"]

_WHEEL = re.compile(r"(?P<name>[^-/]+)-(?P<version>[^-/]+)(?:-[^-/]+){3,4}\.whl", re.IGNORECASE)
_SCHEME = re.compile(r"^[^/]+\.data/(?:purelib|platlib)/")
_SOABI = re.compile(r"\.(?:cpython-|cp\d|abi3|pypy|graalpy)[^/]*(?=\.so$)|\.abi3(?=\.so$)")
_HASH = re.compile(r"-[0-9a-f]{8}(?=\.so(?:\.|$))")
_SO_VERSION = re.compile(r"(?<=\.so)(?:\.\d+)+$")


def release_of(report: Report) -> tuple[str, str]:
    """A wheel's project and version, as its name says them; a bare file is its own project, without version."""
    match = _WHEEL.fullmatch(report.wheel)
    return (match["name"], match["version"]) if match else (report.path, "")


def project_of(report: Report) -> str:
    """The project's name in its normal form (PEP 503), or a bare file's own name."""
    name, version = release_of(report)
    return re.sub(r"[-_.]+", "-", name).lower() if version else report.wheel


def stem_of(module: str | None) -> str:
    """A member's path without what differs between the wheels of a release: ABI tag, auditwheel's hash, version of the library."""
    return _SO_VERSION.sub("", _HASH.sub("", _SOABI.sub("", _SCHEME.sub("", module or ""))))


def import_name(module: str) -> str | None:
    """The name by which Python imports a member, where it has one: ``pkg._core`` for ``pkg/_core.abi3.so``.

    A library that is only needed by others (``lib*.so``, or a version behind ``.so``) has none.
    """
    path = _SCHEME.sub("", module)
    stem = _SOABI.sub("", path).removesuffix(".so")
    parts = stem.split("/")
    tagged = _SOABI.search(path) is not None
    if not path.endswith(".so") or not all(part.isidentifier() for part in parts):
        return None
    return ".".join(parts) if tagged or not parts[-1].startswith("lib") else None


def subject_of(module: str | None, report: Report) -> str:
    """What a headline is about: the name to import, else the file's name; the wheel where it is about the whole."""
    if module is None:
        return report.wheel
    named = import_name(module) if report.tags else None
    return named or module.rsplit("/", 1)[-1]


def culprits_of(finding: Finding) -> tuple[str, ...]:
    """The ids of the culprits that are sure."""
    return tuple(dict.fromkeys(s.match.culprit.id for s in finding.culprits if s.match.confidence != "possible"))


def fingerprint(report: Report, finding: Finding) -> str:
    """32 hexadecimal digits, the same for the same finding in the next release: of the rule, the project, the member's stem and the culprits."""
    parts = (finding.rule, project_of(report), stem_of(finding.module), *culprits_of(finding))
    import hashlib  # noqa: PLC0415  (the report for people needs none)

    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
