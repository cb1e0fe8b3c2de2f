from setuptools import Extension, setup

setup(ext_modules=[Extension("pool_cpp", ["pool_cpp.cpp"], language="c++", extra_compile_args=["-std=c++17", "-ftls-model=initial-exec"])])
