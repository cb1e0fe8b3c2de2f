import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py


class BuildGo(build_py):
    """Build the Go library beside the package's Python files."""

    def run(self):
        super().run()
        library = Path(self.build_lib, "adder_go", "libadder.so").resolve()
        library.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["go", "build", "-buildmode=c-shared", "-trimpath", "-o", str(library), "."], cwd="go", check=True)
        library.with_suffix(".h").unlink()


class BinaryDistribution(Distribution):
    """The wheel is for one platform."""

    def has_ext_modules(self):
        return True


setup(cmdclass={"build_py": BuildGo}, distclass=BinaryDistribution)
