"""Where code reads a slot: functions, sites, source lines. Only ``disassembly`` knows capstone."""

from tls_wheel_guard.machine_code.code import Code, read_code
from tls_wheel_guard.machine_code.functions import FunctionMap, FunctionRange
from tls_wheel_guard.machine_code.reads import USUAL, usual_reads
from tls_wheel_guard.machine_code.unwinding import function_ranges

__all__ = ["USUAL", "Code", "FunctionMap", "FunctionRange", "function_ranges", "read_code", "usual_reads"]
