from Cython.Build import cythonize
from setuptools import Extension, setup

extension = Extension("sum_openmp", ["sum_openmp.pyx"], extra_compile_args=["-fopenmp"], extra_link_args=["-fopenmp"])
setup(ext_modules=cythonize([extension], language_level=3))
