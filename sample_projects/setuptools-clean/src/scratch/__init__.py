"""A per-thread scratch buffer in C."""

import threading

from scratch._scratch import digest

__all__ = ["digest", "selftest"]


def selftest() -> None:
    """Each thread must see its own counter."""
    seen = []
    threads = [threading.Thread(target=lambda: seen.append([digest(b"data")[1] for _ in range(3)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[1, 2, 3]] * 4, seen
