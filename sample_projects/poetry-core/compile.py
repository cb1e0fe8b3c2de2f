import os
import pathlib
import subprocess

here = pathlib.Path(__file__).parent
compiler = os.environ.get("CC", "gcc").split()
flags = ["-shared", "-fPIC", "-O2", "-ftls-model=initial-exec"]
subprocess.run([*compiler, *flags, "-o", here / "counter_poetry" / "libcounter.so", here / "src" / "counter.c"], check=True)
