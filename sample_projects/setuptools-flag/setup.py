from setuptools import Extension, setup

setup(
    ext_modules=[
        # Faster by a few instructions an access, and the reason why the wheel will not load everywhere.
        Extension("scratch._scratch", ["src/scratch/_scratch.c"], extra_compile_args=["-O2", "-ftls-model=initial-exec"])
    ]
)
