from setuptools import setup

setup(cffi_modules=["build_counter.py:builder"])
