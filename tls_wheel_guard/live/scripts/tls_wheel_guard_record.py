"""Writes down what an interpreter opens while it imports: each dlopen, what it mapped, what it took of the static TLS block.

Part of a child (live.py): plain Python, 3.6 to the newest, the standard library only. The two places through which Python code
opens shared objects are wrapped, _imp.create_dynamic and ctypes._dlopen. What C code opens by itself is seen as newly mapped files.
"""

from __future__ import unicode_literals

import io
import os
import sys

from tls_wheel_guard_ask import REFUSED, ctypes, opened


def one_line(words, most=4000):
    return " ".join(("%s" % (words,)).split())[:most]


class Recorder:
    """``answer(name, value)`` gets the lines; ``mapped()`` lists files, ``numbers()`` is "used limit align optional" or "".

    ``doing``: a file that says what is going on, in case that the process does not come back.
    """

    def __init__(self, answer, mapped, numbers, doing):
        self.answer, self.mapped, self.numbers, self.doing = answer, mapped, numbers, doing
        self.known = set()
        self.busy = False

    def say(self, words):
        with io.open(self.doing, "w", encoding="utf-8", errors="replace") as file:
            file.write(words)

    def snapshot(self):
        """What is mapped since the last one, and the numbers now."""
        self.busy = True
        try:
            for path in self.mapped():
                if path not in self.known:
                    self.known.add(path)
                    self.answer("mapped", path)
            self.answer("numbers", self.numbers())
        finally:
            self.busy = False

    def wrapped(self, function, path_of, mode_of):
        """The same function; what it does is written down, with RTLD_GLOBAL where that was asked for."""

        def recording(*arguments, **more):
            path = None if self.busy else path_of(arguments)
            if path is None:
                return function(*arguments, **more)
            self.snapshot()
            self.say("opening %s" % one_line(path))
            if mode_of(arguments) & getattr(os, "RTLD_GLOBAL", 0):
                self.answer("global", "")
            self.answer("open", os.path.realpath(path) if os.path.exists(path) else one_line(path))
            try:
                result = function(*arguments, **more)
            except BaseException as error:
                self.snapshot()
                self.answer("refused", one_line(error))
                raise
            self.snapshot()
            self.answer("opened", "")
            return result

        return recording

    def start(self):
        """From here on everything is written down."""
        import _imp

        self.snapshot()
        flags = getattr(sys, "getdlopenflags", int)
        _imp.create_dynamic = self.wrapped(_imp.create_dynamic, lambda arguments: "%s" % (arguments[0].origin,), lambda arguments: flags())
        if ctypes is not None:
            ctypes._dlopen = self.wrapped(
                ctypes._dlopen,
                lambda arguments: "%s" % (arguments[0],) if arguments[0] else None,
                lambda arguments: arguments[1] if len(arguments) > 1 and isinstance(arguments[1], int) else 0,
            )

    def stage(self, name, action):
        """One import, or one opening; False when it fails."""
        self.answer("stage", name)
        self.say("importing %s" % name)
        try:
            action()
        except BaseException as error:
            self.snapshot()
            self.answer("failed-stage", "%s: %s" % (type(error).__name__, one_line(error)) if one_line(error) else type(error).__name__)
            for cause in chain(error):
                if any(words in "%s" % (cause,) for words in REFUSED):
                    self.answer("static-tls", one_line(cause))
                    break
            return False
        self.snapshot()
        return True


def chain(error):
    """An exception and those that it came from."""
    seen = []
    while error is not None and error not in seen and len(seen) < 100:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return seen


def open_file(path):
    words = opened(path)
    if words:
        raise OSError(words)


def import_named(name):
    """Import a module, what is in one (sklearn.linear_model.LinearRegression), or else all that a distribution of that name installs."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        # Some other module is missing inside it: that is an import error like any other.
        if type(error).__name__ != "ModuleNotFoundError" or not (name + ".").startswith("%s." % (error.name,)):
            raise
        parent, _, last = name.rpartition(".")
        if parent:
            holder = import_named(parent)
            if not hasattr(holder, last):
                raise
            return getattr(holder, last)
        try:
            found = modules_of(name)
        except ImportError:
            found = []
        if not found or name in found:
            raise
        return import_all(found)


def import_all(names):
    for name in names:
        import_named(name)


def modules_of(distribution):
    """The modules that an installed distribution brings: scikit-learn brings sklearn."""
    import importlib.metadata as metadata

    found = metadata.distribution(distribution)
    names = (found.read_text("top_level.txt") or "").split()
    if not names:
        for file in found.files or ():
            first = file.parts[0].split(".")[0]
            is_module = file.name.endswith((".py", ".so")) if len(file.parts) == 1 else file.parts[1:] == ("__init__.py",)
            if is_module and first not in names:
                names.append(first)
    return [name for name in names if not name.startswith("_")] or names


def run_script(path, arguments):
    """Run a script as `python PATH ARGUMENTS` does; an end by exit code 0 is a good end."""
    import runpy

    usual, first = list(sys.argv), sys.path[0]
    sys.argv[:] = [path] + arguments
    sys.path[0] = os.path.dirname(path)
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        sys.argv[:], sys.path[0] = usual, first


def record(recorder, stages, arguments):
    """Do what each of ``stages`` says up to the first that fails: "module NAME", "distribution NAME", "file PATH", "script PATH"."""
    before = list(sys.path)
    sys.path.insert(0, "")  # as `python -c` does
    recorder.start()
    deeds = {
        "module": import_named,
        "distribution": lambda name: import_all(modules_of(name)),
        "file": open_file,
        "script": lambda path: run_script(path, arguments),
    }
    for stage in stages:
        kind, _, what = stage.partition(" ")
        if not recorder.stage(what, lambda: deeds[kind](what)):
            break
    sys.path[:] = before
