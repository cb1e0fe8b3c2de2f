"""In which order glibc relocates and unloads modules: elf/dl-sort-maps.c.

Up to 2.34 one algorithm moves each module behind the last one that needs it; since 2.35 a depth-first search finds the order.
Start-up modules never need late ones, so the order of the late ones among themselves does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

__all__ = ["SEARCHES_DEPTH_FIRST", "sorted_maps"]

SEARCHES_DEPTH_FIRST = (2, 35)
"""The version since which rtld.dynamic_sort is 2."""

Edges = Mapping[str, tuple[str, ...]]


def sorted_maps(
    paths: list[str],
    needs: Edges,
    version: tuple[int, ...],
    *,
    first: bool,
    bound: Edges | None = None,
    kept: frozenset[str] = frozenset(),
) -> list[str]:
    """``paths`` with each module in front of what it needs; _dl_sort_maps.

    ``needs``: l_initfini. ``bound``: l_reldeps, where modules are unloaded. ``first``: the first stays where it is. ``kept``: modules
    that are not unloaded, which the older algorithm does not move.
    """
    if version >= SEARCHES_DEPTH_FIRST:
        return _depth_first(paths, needs, first, bound)
    if first:
        return paths[:1] + _original(paths[1:], needs, bound or {}, kept)
    return _original(paths, needs, bound or {}, kept)


def _depth_first(paths: list[str], needs: Edges, first: bool, bound: Edges | None) -> list[str]:
    found = _topological(paths, lambda path: (*needs.get(path, ()), *reversed((bound or {}).get(path, ()))))
    if bound and any(bound.get(path) for path in found):
        # Links of DT_NEEDED come before those that relocations made.
        found = _topological(found, lambda path: needs.get(path, ()))
    if first:
        found.remove(paths[0])
        found.insert(0, paths[0])
    return found


def _topological(paths: list[str], links: Callable[[str], Iterable[str]]) -> list[str]:
    """Reverse postorder of a search that starts at the last path; without recursion, since a wheel's chain may be long."""
    done: list[str] = []
    visited: set[str] = set()
    for start in reversed(paths):
        if start in visited:
            continue
        visited.add(start)
        stack = [(start, iter(links(start)))]
        while stack:
            path, rest = stack[-1]
            following = next((other for other in rest if other not in visited), None)
            if following is None:
                done.append(path)
                stack.pop()
            else:
                visited.add(following)
                stack.append((following, iter(links(following))))
    return done[::-1]


def _original(paths: list[str], needs: Edges, bound: Edges, kept: frozenset[str]) -> list[str]:
    maps, seen, at = list(paths), [0] * len(paths), 0
    while at < len(maps):
        seen[at] += 1
        this = maps[at]
        behind = None if this in kept else _last_user(maps, at, this, needs, bound)
        if behind is not None:
            maps.insert(behind, maps.pop(at))
            if seen[at + 1] <= len(maps) - at:
                seen.insert(behind, seen.pop(at))
                continue
        # Placed, or a cycle has come round.
        at += 1
        seen[at:] = [0] * (len(maps) - at)
    return maps


def _last_user(maps: list[str], at: int, this: str, needs: Edges, bound: Edges) -> int | None:
    def uses(other: str) -> bool:
        return this in needs.get(other, ()) or (this in bound.get(other, ()) and other not in needs.get(this, ()))

    return next((k for k in range(len(maps) - 1, at, -1) if uses(maps[k])), None)
