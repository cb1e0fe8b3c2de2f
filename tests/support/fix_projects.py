"""A project as keywords: `setup_dot_py="..."`, `src__lib_dot_rs="..."`; what `fix` proposes for it, and what it writes."""

from __future__ import annotations

from tests.support.fix_files import fixed, proposal_for
from tls_wheel_guard.fix.edit import Proposal
from tls_wheel_guard.fix.propose import Asked

MIMALLOC = Asked(frozenset({"mimalloc"}), frozenset({"initial-exec-tls"}))
CRATE = '[package]\nname = "x"\nversion = "1.0.0"\n\n[lib]\ncrate-type = ["cdylib"]\n\n[dependencies]\n'
"""A Cargo.toml of an extension, up to its dependencies."""


def fix(asked: Asked | None = None, /, **files: str) -> Proposal:
    """The proposal for some texts; ``__`` in a name is a slash, ``_dot_`` a dot."""
    return proposal_for({_path(name): text.encode() for name, text in files.items()}, asked)


def write(asked: Asked | None = None, /, **files: str) -> dict[str, str]:
    """The texts with all edits in them."""
    result = fixed({_path(name): text.encode() for name, text in files.items()}, asked)
    return {path: data.decode() for path, data in result.items()}


def _path(name: str) -> str:
    return name.replace("__", "/").replace("_dot_", ".")
