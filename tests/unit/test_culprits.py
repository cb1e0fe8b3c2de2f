"""Who brought initial-exec TLS in: the data files, the classes of evidence, remedies. Pure: clues are written by hand."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from tls_wheel_guard.culprits.advice import build_systems, remedies_for, sentence, trace
from tls_wheel_guard.culprits.clues import Clues, Component, ReachedVariable
from tls_wheel_guard.culprits.data_files import known_culprits
from tls_wheel_guard.culprits.identify import identify
from tls_wheel_guard.culprits.model import Culprit, DataError, culprit_from
from tls_wheel_guard.culprits.pattern import Pattern

ROOT = Path(__file__).resolve().parents[2]
BY_ID = {culprit.id: culprit for culprit in known_culprits()}
PAIR = (ReachedVariable(32, None, None, True, True, True, 8, 14), ReachedVariable(176, None, None, room=1, reads=2))
"""mimalloc 2 in a stripped file: the pointer to the thread's heap, and a flag."""


def clues(*reached: ReachedVariable, **more: Any) -> Clues:
    return Clues("x86_64", 8, 177, reached, **more)


def named(found: Clues) -> list[tuple[str, str]]:
    return [(match.culprit.id, match.confidence) for match in identify(found, known_culprits())]


def test_every_culprit_that_was_asked_for_has_a_file() -> None:
    wanted = "mimalloc jemalloc libgomp go gperftools snmalloc rpmalloc tracy memray heap-layers v8 zig-libc mesa sanitizers libomp"
    generic = "compiler-flag attribute program-objects assembler nodlopen"
    assert set(BY_ID) >= {*wanted.split(), *generic.split()}


@pytest.mark.parametrize("culprit", known_culprits(), ids=lambda c: c.id)
def test_data_file(culprit: Culprit) -> None:
    assert culprit.references
    assert culprit.remedies
    for remedy in culprit.remedies:
        if remedy.status == "measured":
            assert (ROOT / remedy.where).exists(), f"{remedy.where} is not there"
    if not culprit.generic:
        assert culprit.words.variables or culprit.words.common
    for text in (culprit.why, culprit.measured, *(r.text for r in culprit.remedies)):
        assert "\n" not in text


PATTERNS = [
    pattern
    for culprit in known_culprits()
    for key in ("variables", "beside", "common", "files", "comments")
    for pattern in getattr(culprit.words, key)
]


@pytest.mark.parametrize(
    "text",
    [*(pattern.text for pattern in PATTERNS), "a|b", "ab?c", "ab*", "ab+", "ab{0,2}c", "a(b|c)|d", "a(b|c)d", "a[|]b", r"a\|b", "", "(?i)a"],
)
def test_what_a_pattern_begins_with_is_in_all_of_its_matches(text: str) -> None:
    """Asked with and without it, of the pattern's own letters and their parts."""
    pattern, plain = Pattern(text), re.compile(text)
    chance = random.Random(text)
    letters = sorted({*re.sub(r"[^A-Za-z0-9_ .|-]", "", text), "a", "b", "_", ".", "A"})
    names = {"".join(chance.choice(letters) for _ in range(chance.randrange(6))) for _ in range(300)}
    names |= {start + name for name in list(names)[:100] for start in (pattern.beginning, pattern.beginning[:-1], re.sub(r"\W", "", text))}
    names |= {re.sub(r"[\\()?*+]|\[.*", "", text), text}
    for name in names:
        assert pattern.is_whole(name) == bool(plain.fullmatch(name))
        assert pattern.is_in(name) == bool(plain.search(name))


def test_most_patterns_say_how_they_begin() -> None:
    assert sum(len(pattern.beginning) > 2 for pattern in PATTERNS) > 0.7 * len(PATTERNS)


def test_no_word_is_the_name_of_a_distribution_alone() -> None:
    # A culprit's words are about its own code: never a wheel's name, which decides nothing.
    names = {"cachebox", "granian", "scikit-learn", "scikit_learn", "pydantic_core", "ray", "faiss", "xgboost"}
    for culprit in known_culprits():
        assert not names & {*culprit.words.crates, *culprit.words.strings, *culprit.words.functions}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "other"}, "must be the file's name"),
        ({"why": ""}, "why is ''"),
        ({"colour": "red"}, "colour is no key"),
        ({"how": "magic"}, "how is 'magic'"),
        ({"words": {"variables": ["("]}}, "which is no pattern"),
        ({"words": {"variables": "x"}}, "must be a list of texts"),
        ({"words": []}, "must be a table"),
        ({"layouts": [{"versions": "1"}]}, "names no variable"),
        ({"layouts": [{"versions": "1", "data": ["big"]}]}, 'entries are "constant"'),
        ({"layouts": [{"versions": "1", "zero": [4], "bits": 16}]}, "bits is 16"),
        ({"remedies": [{"builds": ["cargo"], "text": "x", "status": "measured"}]}, "does not say where"),
        ({"remedies": [{"builds": ["cargo"], "text": "x", "status": "good"}]}, "status is 'good'"),
        ({"remedies": [{"builds": ["make"], "text": "x", "status": "read"}]}, "builds is ['make']"),
        ({"version_pattern": "abc"}, "must have one group"),
    ],
)
def test_a_wrong_data_file_is_refused_with_its_place(change: dict[str, Any], message: str) -> None:
    good = {"id": "x", "name": "X", "how": "flag", "why": "because", "versions": "all", "measured": "not measured"}
    assert culprit_from("x", good).name == "X"
    with pytest.raises(DataError, match=re.escape(message)):
        culprit_from("x", {**good, **change})


def test_a_variable_with_the_culprits_name_is_certain() -> None:
    assert named(clues(ReachedVariable(0, "_mi_heap_default", 8, True, True, True, 8))) == [("mimalloc", "certain")]
    assert named(clues(ReachedVariable(0, "_rjem_je_tsd_tls", 2632, True, room=2632))) == [("jemalloc", "certain")]
    assert named(clues(ReachedVariable(0, "gomp_tls_data.lto_priv.0", 120, room=120))) == [("libgomp", "certain")]
    assert named(clues(ReachedVariable(None, "_mi_heap_default", None))) == [("mimalloc", "certain")]


@pytest.mark.parametrize("name", ["my_mi_heap_default", "_mi_heap_default2", "recurse", "tsd_tlsx", "gomp_tls_data_copy", "runtimeXtlsg"])
def test_a_like_named_variable_is_nobodys(name: str) -> None:
    assert named(clues(ReachedVariable(0, name, 8, room=8), strings=frozenset({"mimalloc: warning: ", "<jemalloc>: ", "libgomp: "}))) == []


@pytest.mark.parametrize("culprit", [c for c in known_culprits() if c.words.strings and not c.generic], ids=lambda culprit: culprit.id)
def test_words_alone_are_possible_at_most(culprit: Culprit) -> None:
    found = clues(ReachedVariable(0, None, None, room=4, reads=3), strings=frozenset(culprit.words.strings))
    assert (culprit.id, "possible") in named(found)
    assert {confidence for _, confidence in named(found)} == {"possible"}


def test_a_layout_with_one_more_class_is_likely_and_alone_is_not() -> None:
    assert named(clues(*PAIR)) == []
    for more in ({"strings": frozenset({"mimalloc: warning: "})}, {"listed": (Component("libmimalloc-sys", "0.1.39"),)}):
        assert named(clues(*PAIR, **more)) == [("mimalloc", "likely")]


def test_presence_alone_however_much_is_possible() -> None:
    found = clues(
        ReachedVariable(0, None, None, room=4, reads=3),
        strings=frozenset({"mimalloc: warning: "}),
        listed=(Component("libmimalloc-sys", "0.1.39"),),
        embedded=(Component("mimalloc", "0.1.43"),),
        functions=frozenset({"mi_malloc", "mi_free"}),
        soname="libmimalloc.so.2",
    )
    assert named(found) == [("mimalloc", "possible")]


def test_few_reads_are_not_an_allocators() -> None:
    few = (ReachedVariable(0, None, None, True, True, True, 8, 1), ReachedVariable(16, None, None, room=1, reads=1))
    assert named(clues(*few, strings=frozenset({"mimalloc: warning: "}))) == [("mimalloc", "possible")]


def test_a_reader_and_a_name_are_one_class() -> None:
    reader = ReachedVariable(0, None, None, room=4, reads=3, readers=("mi_malloc",))
    assert named(clues(reader, functions=frozenset({"mi_malloc"}))) == [("mimalloc", "possible")]
    assert named(clues(reader, functions=frozenset({"mi_malloc"}), soname="libmimalloc.so.2")) == [("mimalloc", "likely")]


def test_go_needs_its_sections() -> None:
    word = ReachedVariable(0, None, None, room=8, reads=900)
    assert ("go", "likely") not in named(clues(word, go_version="go1.24.1", strings=frozenset({"Go cmd/compile "})))
    (match,) = identify(clues(word, go_version="go1.24.1", sections=frozenset({".go.buildinfo", ".gopclntab"})), known_culprits())
    assert (match.culprit.id, match.confidence, match.version) == ("go", "likely", "1.24.1")


def test_names_of_files_count_as_auditwheel_mangles_them() -> None:
    reached = tuple(ReachedVariable(o, None, None, room=r, reads=80) for o, r in ((0, 104), (104, 8), (112, 8)))
    for soname in ("libgomp.so.1", "libgomp-a34b3233.so.1.0.0", "libgomp-a34b3233.so.1"):
        assert named(clues(*reached, soname=soname)) == [("libgomp", "likely")]
    assert named(clues(*reached, soname="libgompfake.so.1")) == []


def test_generic_culprits_rest_on_command_lines() -> None:
    own = ReachedVariable(0, "counter", 4, room=4)
    assert named(clues(own)) == []
    assert named(clues(own, producers=("GNU C17 12.2.0 -fPIC -ftls-model=initial-exec",))) == [("compiler-flag", "likely")]
    assert named(clues(own, producers=("GNU C17 12.2.0 -O2 -fPIC",))) == [("attribute", "possible")]
    assert named(clues(ReachedVariable(None, "other", None), producers=("GNU C17 12.2.0 -O2 -fPIE",))) == [("program-objects", "likely")]
    assert named(clues(own, no_dlopen=True, comments=("mold 1.10.1",))) == [("nodlopen", "likely")]


def test_remedies_follow_the_build_system() -> None:
    (match,) = identify(clues(*PAIR, strings=frozenset({"mimalloc: warning: "})), known_culprits())
    assert "local_dynamic_tls" in remedies_for(match, ["cargo"])[0].text
    assert remedies_for(match, ["cmake"])[0].text == "-DMI_LOCAL_DYNAMIC_TLS=ON"
    assert "any" in remedies_for(match, ["meson"])[0].builds


@pytest.mark.parametrize(
    ("generator", "more", "first"),
    [
        ("maturin (1.9.4)", {}, "cargo"),
        ("bdist_wheel (0.45.1)", {}, "setuptools"),
        ("setuptools (80.9.0)", {"comments": ("rustc version 1.95.0",)}, "cargo"),
        ("scikit-build-core 0.11.6", {}, "cmake"),
        ("meson", {}, "meson"),
        ("setuptools (80.9.0)", {"go_version": "go1.26.0"}, "go"),
        (None, {}, None),
    ],
)
def test_build_system(generator: str | None, more: dict[str, Any], first: str | None) -> None:
    assert next(iter(build_systems(generator, clues(**more))), None) == first


def test_an_interposer_gets_no_cure() -> None:
    found = clues(ReachedVariable(0, "je_tsd_tls", 2632, True, room=2632), exports=frozenset({"malloc", "free", "calloc"}))
    traced = trace(found, known_culprits(), "maturin (1.9)")
    assert traced.interposer is not None
    assert traced.suspects[0].advice == (traced.interposer,)
    assert "LD_PRELOAD" in traced.interposer


def test_a_library_for_preloading_is_recognised_by_what_it_stands_in_for() -> None:
    assert clues(exports=frozenset({"open", "read"}), asks_for_next=True).interposes == "open and read"
    assert clues(exports=frozenset({"open", "read"})).interposes == ""
    assert clues(exports=frozenset({"poll", "PyInit_x"}), asks_for_next=True).interposes == ""
    assert clues(exports=frozenset({"PyInit_x"}), asks_for_next=True).interposes == ""


def test_sentence_names_the_version_the_crate_and_the_variable() -> None:
    found = clues(
        ReachedVariable(0, "_mi_heap_default", 8, True, True, True, 8, 14),
        ReachedVariable(16, "recurse", 1, room=1, reads=2),
        embedded=(Component("libmimalloc-sys", "0.1.39"),),
        strings=frozenset({"max_segment_reclaim"}),
    )
    (match,) = identify(found, known_culprits())
    assert sentence(match) == (
        "mimalloc 2.x, linked in through the Rust crate libmimalloc-sys 0.1.39, brings it in: the relocations reach `_mi_heap_default` (8 bytes)."
    )


def test_a_flag_is_offered_only_where_one_works() -> None:
    for culprit in known_culprits():
        for remedy in culprit.remedies:
            elsewhere = culprit.how in ("attribute", "assembler", "toolchain") and not culprit.generic
            if elsewhere and "configure" not in remedy.text:
                assert "-ftls-model=global-dynamic" not in remedy.text, culprit.id


def test_start_files_that_are_assembled_name_nobody() -> None:
    """musl-gcc links crti.o and crtn.o, which say that they come from assembler; the module's own code says nothing."""
    reached = ReachedVariable(0, "counter", 4, room=4, reads=1, readers=("bump",))
    assert identify(clues(reached, producers=("GNU AS 2.40",)), known_culprits()) == ()
