from setuptools import Extension, setup

setup(ext_modules=[Extension("counter_attribute", ["counter_attribute.c"], extra_compile_args=["-ftls-model=global-dynamic"])])
