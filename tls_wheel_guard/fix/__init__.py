"""The lasting edit of a project's build files: texts in, edits out. Pure: nothing is opened, and nothing is written.

edit          a splice with its reason, the diff
paths, versions, toml_scanner, toml_text, literals    how texts are read, and how an edit is proved
crates        what a project's crates depend on
cargo  pyproject  cibuildwheel  setuptools  cmake  meson  source_code    one build system or language each; none knows another
advice        what can't be edited for certain
propose       all of them asked, for each culprit's remedies
init          what adds the guard itself
"""
