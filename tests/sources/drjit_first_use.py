"""One expression of Dr.Jit as the first use of it in a thread. Arguments: the folder of drjit, a library to open before or -, the expression."""

import ctypes
import sys
import threading

sys.path.insert(0, sys.argv[1])
if sys.argv[2] != "-":
    taker = ctypes.CDLL(sys.argv[2])
    taker.touch()

import drjit as dr
from drjit.llvm import Bool, Float

x, y, m = Float(3), Float(4), Bool(True)
answers = []


def first_use() -> None:
    answers.append(eval(sys.argv[3], {"dr": dr, "x": x, "y": y, "m": m}))  # noqa: S307


thread = threading.Thread(target=first_use)
thread.start()
thread.join()
print(f"{answers[0][0]:g}")
