import os
import subprocess

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface):
    """Compile the C library into the package."""

    def initialize(self, version, build_data):
        source = os.path.join(self.root, "src", "counter.c")
        library = os.path.join(self.root, "counter_hatch", "libcounter.so")
        compiler = os.environ.get("CC", "gcc").split()
        subprocess.run([*compiler, "-shared", "-fPIC", "-O2", "-ftls-model=initial-exec", "-o", library, source], check=True)
        build_data["infer_tag"] = True
        build_data["pure_python"] = False
