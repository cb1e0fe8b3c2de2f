"""Hyperlinks in the terminal (OSC 8): whether it has them, and where a page lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tls_wheel_guard.rules import RULES

__all__ = ["documentation", "page_address", "terminal_pages"]

_SIGNS = ("WT_SESSION", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "DOMTERM", "GHOSTTY_RESOURCES_DIR", "ALACRITTY_WINDOW_ID")
"""Variables of terminals that have hyperlinks."""
_PROGRAMS = ("iTerm.app", "WezTerm", "vscode", "Hyper", "ghostty", "Tabby", "rio", "zed")
"""Their TERM_PROGRAM."""
_TERMS = ("foot", "xterm-kitty", "alacritty", "xterm-ghostty", "contour")
VTE_SINCE = 5000
"""VTE_VERSION from which GNOME's terminals have them."""


def terminal_pages(environment: Mapping[str, str], to_terminal: bool) -> Callable[[str], str | None] | None:
    """Addresses of pages, None where the report goes elsewhere or the terminal is not known to have hyperlinks.

    FORCE_HYPERLINK=1 and =0 decide against what is known, as in other tools.
    """
    forced = environment.get("FORCE_HYPERLINK")
    if forced:
        return page_address if forced != "0" else None
    return page_address if to_terminal and _has_links(environment) else None


def _has_links(environment: Mapping[str, str]) -> bool:
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    vte = environment.get("VTE_VERSION", "")
    return (
        any(name in environment for name in _SIGNS)
        or environment.get("TERM_PROGRAM") in _PROGRAMS
        or environment.get("TERM", "").startswith(_TERMS)
        or (vte.isascii() and vte.isdecimal() and len(vte) < 10 and int(vte) >= VTE_SINCE)
    )


def documentation() -> str | None:
    """The address of the documentation's site, from this package's own metadata; None where it names none."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        urls = metadata("tls-wheel-guard").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    named = dict(url.split(", ", 1) for url in urls if ", " in url)
    address = named.get("Documentation", "")
    return address.rstrip("/") + "/" if address.startswith("https://") else None


def page_address(name: str) -> str | None:
    """Where the page of a rule or culprit lies: on the documentation's site, else, for a rule, the file that is installed."""
    site = documentation()
    if site is not None:
        return f"{site}{'rules' if name in RULES else 'culprits'}/#{name}"
    if name not in RULES:
        return None
    from importlib import resources  # 5 ms that only a terminal with hyperlinks needs

    path = Path(str(resources.files("tls_wheel_guard").joinpath("rules", "pages", f"{name}.md")))
    return path.as_uri() if path.is_file() else None
