"""Every error of the tool, with the exit code that the command line gives for it.

    TlsWheelGuardError          5   also what a bug in this tool becomes in the command line
      CheckFailed               1   a build made a wheel that must not be released
      UsageError                2   the command line is wrong, or names what is not there
        ConfigError             2   a value in [tool.tls-wheel-guard] or TLS_WHEEL_GUARD_* is wrong
      UnreadableInput           3   what was named can't be read
        InputReadError          3   the system refuses to open or read it: permissions, a vanished file, a broken disk
        UnreadableWheel         3   not a zip, cut short, or over a limit
        UnreadableMember        3   one member of a wheel can't be inflated
        MalformedElf            3   an ELF file that contradicts itself
        UnreadableInterpreter   3   a Python can't be started, hangs, crashes, or gives no answer
        UnreadableIndex         3   an index, a page of it, or a wheel that it lists can't be fetched
      Refused                   4   a change that can't be made safely; nothing was written

A message is one line: what is wrong, with the value; ``hint`` is the next step. The place (file, member) is
added where it is known.
"""

from __future__ import annotations

from tls_wheel_guard.version import __version__

__all__ = [
    "EXIT_CODES",
    "CheckFailed",
    "ConfigError",
    "InputReadError",
    "MalformedElf",
    "Refused",
    "TlsWheelGuardError",
    "UnreadableIndex",
    "UnreadableInput",
    "UnreadableInterpreter",
    "UnreadableMember",
    "UnreadableWheel",
    "UsageError",
    "bug_of",
    "reason_of",
]


EXIT_CODES = {
    0: "nothing at or above `--fail-on` was found, or the command did what it was asked for",
    1: "at least one such finding; `doctor`: the import fails; `simulate`: a step fails",
    2: "wrong usage or settings, a path that is not there, an output that can't be written",
    3: "an input, or an interpreter, that can't be read",
    4: "a change that can't be made safely; nothing was written",
    5: "a bug of tls-wheel-guard: one line that says how to report it",
    130: "interrupted",
}
"""What each exit code of the command line means; docs/reference.md has the table."""


class TlsWheelGuardError(Exception):
    """The root of all errors that this package raises on purpose."""

    exit_code = 5

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Workers send errors between processes; the default would lose the keyword-only hint.
        return (_rebuild, (type(self), self.message, self.hint))

    def line(self) -> str:
        """The error as one line of text."""
        return f"{self.message}; hint: {self.hint}" if self.hint else self.message


def _rebuild(kind: type[TlsWheelGuardError], message: str, hint: str | None) -> TlsWheelGuardError:
    return kind(message, hint=hint)


class CheckFailed(TlsWheelGuardError):  # noqa: N818  (a verdict on the build, not a mistake of its author)
    """A build made something that must not be released."""

    exit_code = 1


class UsageError(TlsWheelGuardError):
    """The command line is wrong, or names something that does not exist."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting has an unknown name or a wrong value."""


class UnreadableInput(TlsWheelGuardError):  # noqa: N818  (it says what was wrong with the input, as its children do)
    """Something that was named can't be read."""

    exit_code = 3


class InputReadError(UnreadableInput):
    """The system refuses to open or to read an input: the file, its folder or its disk is the cause, not what it holds."""

    @classmethod
    def of(cls, error: OSError, *, doing: str = "read") -> InputReadError:
        """From what the system said; ``doing``: ``read``, ``opened``, ``listed``."""
        return cls(f"it can't be {doing}: {reason_of(error)}", hint="check the path, its permissions and its disk")


def reason_of(error: OSError) -> str:
    """The system's own words for what went wrong, on one line."""
    return " ".join((error.strerror or str(error) or type(error).__name__).split())


class UnreadableWheel(UnreadableInput):
    """A file is not a wheel, is cut short, or goes over a limit."""


class UnreadableMember(UnreadableInput):
    """One member of a wheel can't be inflated."""


class UnreadableInterpreter(UnreadableInput):
    """An interpreter can't be started, hangs, crashes, or gives no answer that can be used."""


class UnreadableIndex(UnreadableInput):
    """An index can't be reached, answers with an error, or lists what can't be fetched."""


class MalformedElf(UnreadableInput):
    """An ELF file contradicts itself or points outside itself."""


class Refused(TlsWheelGuardError):  # noqa: N818  (nothing went wrong: it was not done)
    """A change can't be made safely; nothing was written."""

    exit_code = 4


def bug_of(error: Exception) -> TlsWheelGuardError:
    """The error that the user sees for an unexpected exception: a bug in this tool, not a fault in the input."""
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    hint = "please report this line with the command and the wheel's name; TLS_WHEEL_GUARD_TRACEBACK=1 shows where"
    return TlsWheelGuardError(f"a bug in tls-wheel-guard {__version__}: {words}", hint=hint)
