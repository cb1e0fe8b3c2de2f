"""Set DF_STATIC_TLS where a linker left it out (on aarch64 GNU ld does, and lld 14; lld 19 and gold set it).

The flag goes into an existing DT_FLAGS, else into a spare DT_NULL slot: linkers leave some behind the first (gABI: entries
behind it are ignored), and the last one must stay as the end mark.
"""

from __future__ import annotations

from tls_wheel_guard.elf.constants import DF_STATIC_TLS, DT_FLAGS, DT_NULL
from tls_wheel_guard.elf.headers import dynamic_segment, read_header, read_segments
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import Refused
from tls_wheel_guard.repair.patch import Patch

__all__ = ["plan_flag"]


def plan_flag(source: Source) -> Patch | None:
    """The patch that sets DF_STATIC_TLS, None where it is set; raises Refused where neither place exists."""
    header = read_header(source)
    segment = dynamic_segment(read_segments(source, header))
    if segment is None:
        raise Refused("it has no dynamic segment")
    layout = header.format.dyn
    data = source.read(segment.offset, segment.filesz // layout.size * layout.size)
    entries = list(layout.rows(data, "tag", "val"))
    for index, (tag, value) in enumerate(entries):
        offset = segment.offset + index * layout.size
        old = data[index * layout.size : (index + 1) * layout.size]
        if tag == DT_FLAGS:
            if value & DF_STATIC_TLS:
                return None
            return Patch(offset, old, layout.struct.pack(DT_FLAGS, value | DF_STATIC_TLS), "DF_STATIC_TLS added to DT_FLAGS")
        if tag == DT_NULL:
            if index + 1 < len(entries) and entries[index + 1][0] == DT_NULL:
                return Patch(offset, old, layout.struct.pack(DT_FLAGS, DF_STATIC_TLS), "DT_FLAGS with DF_STATIC_TLS in a spare DT_NULL slot")
            break
    raise Refused(
        "its dynamic segment has no DT_FLAGS and no spare DT_NULL slot", hint="link it again with -Wl,-z,now or any flag that makes DT_FLAGS"
    )
