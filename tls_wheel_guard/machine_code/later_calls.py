"""Descriptor calls that are never a thread's first use of a block, because the same function has made another one before.

glibc's sysdeps/x86_64/dl-tlsdesc.S takes its slow path while the thread has no block of the module, or an older generation of it. All
descriptors of a module are made with the same generation, so after one call of any of them the others are fast in this thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tls_wheel_guard.machine_code.control_flow import Block, plain

__all__ = ["later_calls"]


def later_calls(blocks: Mapping[int, Block], entries: Iterable[int], calls: frozenset[int]) -> frozenset[int]:
    """Those of ``calls`` (addresses, all for one block of TLS) that every way from the entries reaches over another one of them.

    Blocks that no way leads to are reached by exceptions: there any call may be the first. Those of nops alone fill up a line.
    """
    inside = {start: [line.address for line in block.lines if line.address in calls] for start, block in blocks.items()}
    followed = {target for block in blocks.values() for target in block.successors}
    work = [start for start, block in blocks.items() if start not in followed and any(plain(line.mnemonic) != "nop" for line in block.lines)]
    work += [entry for entry in entries if entry in blocks]
    seen = set(work)
    first: set[int] = set()
    while work:
        start = work.pop()
        if inside[start]:
            first.add(inside[start][0])
            continue
        new = [target for target in blocks[start].successors if target in blocks and target not in seen]
        seen.update(new)
        work += new
    return calls - first
