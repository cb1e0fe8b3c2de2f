"""Where code reads a slot: functions, sites, source lines. Only ``disassembly`` knows capstone."""

from tls_wheel_guard.machine_code.code import Code, CodePlaces, code_places, read_code
from tls_wheel_guard.machine_code.functions import FunctionMap, FunctionRange
from tls_wheel_guard.machine_code.slot_reads import USUAL, usual_reads

__all__ = ["USUAL", "Code", "CodePlaces", "FunctionMap", "FunctionRange", "code_places", "read_code", "usual_reads"]
