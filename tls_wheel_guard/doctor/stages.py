"""What a child of `doctor` is told to do, a text each: ``module NAME``, ``distribution NAME``, ``file PATH``, ``script PATH``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tls_wheel_guard.errors import UsageError

__all__ = ["name_of", "stage_of", "statement"]

SCRIPTS = (".py", ".pyw")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""A name as the core metadata specification defines it."""
KINDS = "give the name of a module or of a distribution, or the path of a shared object or of a script"


def stage_of(word: str) -> str:
    """What a word of the command line stands for; raises UsageError. Whether a module or distribution exists, only the interpreter knows."""
    if not word.isprintable():
        raise UsageError(f"{word!r} has characters that can't be printed", hint="rename the file")
    path = Path(word)
    looks_like_file = os.sep in word or word.endswith(".so") or ".so." in word or path.suffix in SCRIPTS
    if not looks_like_file:
        if word and all(part.isidentifier() for part in word.split(".")):
            return f"module {word}"
        if _DISTRIBUTION.fullmatch(word):
            return f"distribution {word}"
        raise UsageError(f"{word!r} is neither a module, a distribution, a shared object nor a script", hint=KINDS)
    if not path.exists():
        raise UsageError(f"{word}: no such file", hint=KINDS)
    if not path.is_file():
        raise UsageError(f"{word}: it is not a file", hint=KINDS)
    if path.suffix == ".whl":
        raise UsageError(f"{word}: it is a wheel", hint="`check` and `simulate` take wheels; doctor opens what is installed or unpacked")
    return f"{'script' if path.suffix in SCRIPTS else 'file'} {path.absolute()}"


def name_of(stage: str) -> str:
    """The name or path that it is about."""
    return stage.partition(" ")[2]


def statement(stages: Sequence[str]) -> str:
    """A line of Python that does what the stage says."""
    forms = {"module": "import {}", "distribution": "import {}", "file": "ctypes.CDLL({})", "script": 'runpy.run_path({}, run_name="__main__")'}
    parts, needed = [], []
    for stage in stages:
        kind, _, what = stage.partition(" ")
        needed += {"file": ["ctypes"], "script": ["runpy"]}.get(kind, [])
        parts.append(forms[kind].format(json.dumps(what) if kind in ("file", "script") else what))
    return "; ".join([*(f"import {name}" for name in dict.fromkeys(needed)), *parts])
