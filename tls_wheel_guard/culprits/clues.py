"""What is known of one module that may say who brought initial-exec TLS into it: values only, collected by ``collect``."""

from __future__ import annotations

from tls_wheel_guard.records import dataclass

__all__ = ["Clues", "Component", "ReachedVariable"]

PRELOADED = frozenset(
    """malloc calloc realloc free mmap munmap pthread_create pthread_mutex_lock pthread_mutex_unlock open open64 openat close read write
    socket connect accept send recv sendto recvfrom poll select epoll_wait fork execve sigaction signal dlopen getaddrinfo clock_gettime
    gettimeofday time nanosleep stat fstat lstat fopen fopen64 fclose ioctl fcntl getpid exit _exit setitimer timer_create""".split()
)
"""Functions of the C library that libraries for LD_PRELOAD put their own in front of."""


@dataclass(frozen=True, slots=True)
class Component:
    """A package that a bill of materials names: a crate, with its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class ReachedVariable:
    """One thread-local variable that initial-exec relocations reach.

    ``offset``: its place in the module's TLS segment, None for another module's. ``name``, ``size``: of its symbol, None without one.
    ``initialised``: it lies in the part that has bytes in the file; ``pointer``: its first word gets an address by a relocation,
    ``constant``: that of something that is read-only once it is loaded. ``room``: bytes up to the next one reached or to the end of the
    initialised or the zero part. ``reads``: how often its slot is read in the machine's usual form, None where that is not known;
    ``readers``: names of functions that do so.
    """

    offset: int | None
    name: str | None
    size: int | None
    initialised: bool = False
    pointer: bool = False
    constant: bool = False
    room: int = 0
    reads: int | None = None
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clues:
    """All clues of one module.

    ``reached``: by offset. ``word``: bytes of a pointer. ``block``: bytes of the TLS segment.
    ``file_name``: without folder. ``functions``: names that it defines; ``exports``: those that others see. ``sections``: names.
    ``comments``: entries of .comment. ``embedded``: crates that cargo-auditable wrote into the module; ``listed``: those of the
    wheel's bills of materials. ``go_version``: from Go's build information. ``strings``: those of the culprits' words that it holds.
    ``versions``: a culprit's id and the version that its pattern found.
    ``producers``: compilers' command lines, from debug information or .GCC.command.line. ``no_dlopen``: DF_1_NOOPEN.
    ``asks_for_next``: it imports dlsym.
    """

    machine: str
    word: int
    block: int
    reached: tuple[ReachedVariable, ...] = ()
    soname: str | None = None
    file_name: str = ""
    functions: frozenset[str] = frozenset()
    exports: frozenset[str] = frozenset()
    sections: frozenset[str] = frozenset()
    comments: tuple[str, ...] = ()
    embedded: tuple[Component, ...] = ()
    listed: tuple[Component, ...] = ()
    go_version: str | None = None
    strings: frozenset[str] = frozenset()
    versions: tuple[tuple[str, str], ...] = ()
    producers: tuple[str, ...] = ()
    no_dlopen: bool = False
    asks_for_next: bool = False
    needed_inside: bool = False

    @property
    def own(self) -> tuple[ReachedVariable, ...]:
        """The module's own variables."""
        return tuple(r for r in self.reached if r.offset is not None)

    @property
    def foreign(self) -> tuple[ReachedVariable, ...]:
        """Other modules' variables."""
        return tuple(r for r in self.reached if r.offset is None)

    @property
    def interposes(self) -> str:
        """The C library's functions that it replaces, as words for a sentence; empty where it replaces none.

        A library for LD_PRELOAD defines a function under the C library's name and asks dlsym for the next one.
        """
        if self.needed_inside:
            # Another module of the wheel brings it in with dlopen.
            return ""
        if {"malloc", "free"} <= self.exports:
            return "malloc and free"
        # An extension module may define a function that some system lacks. It is never preloaded, so it replaces nothing.
        imported = any(name.startswith("PyInit_") for name in self.exports)
        taken = sorted(self.exports & PRELOADED) if self.asks_for_next and not imported else []
        return " and ".join(taken[:3])
