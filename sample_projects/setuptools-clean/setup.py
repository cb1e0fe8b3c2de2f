from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("scratch._scratch", ["src/scratch/_scratch.c"], extra_compile_args=["-O2", "-ftls-model=global-dynamic"])
    ]
)
