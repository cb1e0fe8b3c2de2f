"""Which modules each module of a wheel reaches through DT_NEEDED, for all modules in one walk.

The search list of one module takes a walk of its own (``process.dependencies``), so those of twenty thousand modules would take four
hundred million steps. Here each module's list is made of its direct needs' lists; modules that need each other share one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tls_wheel_guard.loaders.link_map import Given
from tls_wheel_guard.tls import TlsModule

__all__ = ["MAX_REACHED", "dependencies_first", "reached"]

MAX_REACHED = 256
"""Modules that are kept of those that one reaches: so many blocks of eight bytes are more than any loader has room for."""


def reached(modules: Iterable[TlsModule], wanted: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Each module's path -> the paths among ``wanted`` that it reaches, what is needed first, itself last if it is wanted."""
    given = Given(modules)
    needs = {module.path: [other.path for name in module.needed if (other := given.find(name)) is not None] for module in given.modules}
    lists: dict[str, tuple[str, ...]] = {}
    for group in _Walk(needs).groups():
        found: dict[str, None] = {}
        for path in group:
            for need in needs[path]:
                if len(found) < MAX_REACHED:
                    found.update(dict.fromkeys(lists.get(need, ())))
        found.update(dict.fromkeys(path for path in group if path in wanted))
        shared = tuple(found)[-MAX_REACHED:]
        for path in group:
            lists[path] = (*(other for other in shared if other != path), path) if path in wanted else shared
    return lists


def dependencies_first(modules: Iterable[TlsModule]) -> tuple[TlsModule, ...]:
    """The modules in an order in which each comes after those of them that it needs, as far as there is one."""
    by_path = {module.path: module for module in modules}
    return tuple(by_path[path] for path in reached(by_path.values(), ()))


class _Walk:
    """Tarjan's algorithm without recursion: a chain of modules can be as long as the wheel."""

    def __init__(self, needs: dict[str, list[str]]) -> None:
        self._needs = needs
        self._order: dict[str, int] = {}
        self._lowest: dict[str, int] = {}
        self._stack: list[str] = []
        self._waiting: set[str] = set()
        self._path: list[tuple[str, Iterator[str]]] = []

    def groups(self) -> Iterator[list[str]]:
        """Modules that need each other, each group after all that it needs."""
        for root in self._needs:
            if root not in self._order:
                self._enter(root)
            while self._path:
                if not self._go_on() and (group := self._leave()):
                    yield group

    def _enter(self, module: str) -> None:
        self._order[module] = self._lowest[module] = len(self._order)
        self._stack.append(module)
        self._waiting.add(module)
        self._path.append((module, iter(self._needs[module])))

    def _go_on(self) -> bool:
        """Enter the next need of the newest module that was not met yet; False where there is none."""
        module, rest = self._path[-1]
        for need in rest:
            if need not in self._order:
                self._enter(need)
                return True
            if need in self._waiting:
                self._lowest[module] = min(self._lowest[module], self._order[need])
        return False

    def _leave(self) -> list[str]:
        """Leave the newest module; its group where it is the first of one that is complete."""
        module, _ = self._path.pop()
        if self._path:
            above = self._path[-1][0]
            self._lowest[above] = min(self._lowest[above], self._lowest[module])
        if self._lowest[module] != self._order[module]:
            return []
        at = next(n for n in range(len(self._stack) - 1, -1, -1) if self._stack[n] == module)
        group = self._stack[at:]
        del self._stack[at:]
        self._waiting.difference_update(group)
        return group
