"""How a text report may look: columns, colour, how much."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from tls_wheel_guard.records import dataclass

if TYPE_CHECKING:
    from tls_wheel_guard.findings import Severity
    from tls_wheel_guard.report.proposed import Proposed

__all__ = ["SEVERITY_COLOURS", "Anchor", "Style", "printable", "safe_text", "shortened", "text_of", "wrap"]

Colour = Literal["bold", "dim", "red", "yellow", "green", "cyan"]
_CODES: dict[Colour, str] = {"bold": "1", "dim": "2", "red": "31", "yellow": "33", "green": "32", "cyan": "36"}
SEVERITY_COLOURS: dict[Severity, Colour] = {"error": "red", "warning": "yellow", "note": "cyan"}
"""In the order in which they are counted."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A line of the repository at which a service may show a finding: what the author would edit.

    ``path``: the file, from the repository's root; ``uri``: the same, percent-encoded. ``line``: counted from 1.
    """

    path: str
    uri: str
    line: int


@dataclass(frozen=True, slots=True)
class Style:
    """``width`` in columns; ``verbosity``: -1 findings only, 0 usual, 1 every module. ``judged``: no for `show`.

    ``pages``: where the pages of rules and culprits lie, as an address that ends in the name; None where links are not wanted.
    ``page_text``: the text of such a page, as Markdown. ``anchor``: where a finding is shown in the repository.
    ``proposed``: the edits of the project that ``fix`` has.
    """

    width: int = 80
    color: bool = False
    verbosity: int = 0
    judged: bool = True
    pages: Callable[[str], str | None] | None = None
    page_text: Callable[[str], str | None] | None = None
    anchor: Anchor | None = None
    proposed: Proposed | None = None

    def paint(self, text: str, *colours: Colour) -> str:
        """The text in colours, or as it is where there are none."""
        if not self.color or not colours or not text:
            return text
        return f"\x1b[{';'.join(_CODES[c] for c in colours)}m{text}\x1b[0m"

    def link(self, text: str, page: str) -> str:
        """The text as a hyperlink (OSC 8) to the page of a rule or culprit, or as it is where terminals are not known to have them."""
        address = self.pages(page) if self.pages else None
        return f"\x1b]8;;{address}\x1b\\{text}\x1b]8;;\x1b\\" if address else text


def shortened(text: str, most: int) -> str:
    """A long name without its middle: its beginning and its end say the most."""
    if len(text) <= most:
        return text
    end = (most - 3) // 2
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"


def printable(text: str) -> str:
    """Text from a wheel without control characters: a member's name must not be able to steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def text_of(lines: Iterable[str]) -> str:
    """Lines with words from elsewhere as one text: a line end in a name makes no line of its own."""
    return "".join(f"{printable(line)}\n" for line in lines)


_COLOUR_CODES = "|".join(_CODES.values())
_OWN = rf"\x1b\[(?:0|(?:{_COLOUR_CODES})(?:;(?:{_COLOUR_CODES}))*)m|\x1b\]8;;[!-~]*\x1b\\"
"""What a Style puts in: colours, and hyperlinks (OSC 8)."""
_UNSAFE = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000110bd\U000110cd\U000e0001-\U000e007f]"
)
"""Characters that steer a terminal or reorder a line, and halves of surrogate pairs: Unicode's Cc, Cf, Cs, Zl, Zp but newline and tab."""


@functools.cache
def _pattern() -> re.Pattern[str]:
    return re.compile(f"({_OWN})|{_UNSAFE}")


def safe_text(text: str) -> str:
    """A whole text as it may be shown: what a writer left in of control characters is escaped, line ends and a Style's own stay.

    Every text of this package passes here on its way out, whatever names it holds.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return _pattern().sub(lambda found: found[1] or found[0].encode("unicode_escape").decode(), text)


def wrap(text: str, width: int, indent: str, first: str | None = None) -> list[str]:
    """Lines of at most ``width`` columns; long words such as paths and loader messages are left whole."""
    import textwrap  # noqa: PLC0415  (a report without findings has no paragraph)

    return textwrap.wrap(
        printable(text),
        max(width, len(indent) + 24),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
