"""What indexes, folders and lock files list: real forms, and forms that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tls_wheel_guard.errors import TlsWheelGuardError, UnreadableIndex, UsageError
from tls_wheel_guard.index import sources
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.listing import ListedWheel, listed_wheel, newest_releases, safe_url, wanted
from tls_wheel_guard.index.lock_files import read_lock
from tls_wheel_guard.index.simple_api import project_names, project_wheels
from tls_wheel_guard.index.sources import Selection, configured_index, list_wheels, locked_wheels

JSON = "application/vnd.pypi.simple.v1+json"
URL = "http://127.0.0.1/simple/pkg/"
A = "a" * 64
B = "b" * 64


def page(*files: dict[str, object], version: str = "1.1") -> str:
    return json.dumps({"meta": {"api-version": version}, "name": "pkg", "files": list(files)})


def wheel_row(name: str, **more: object) -> dict[str, object]:
    return {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": A}, **more}


def test_a_json_page_lists_wheels_with_all_that_it_says() -> None:
    text = page(
        wheel_row("pkg-1.0-py3-none-any.whl", size=123, **{"upload-time": "2026-01-02T03:04:05Z"}),
        wheel_row("pkg-2.0-cp312-cp312-musllinux_1_2_x86_64.whl", yanked="broken"),
        {"filename": "pkg-2.0.tar.gz", "url": "x", "hashes": {}},
    )
    first, second = project_wheels(text, JSON, URL, URL)
    assert first == ListedWheel(
        "pkg-1.0-py3-none-any.whl", "pkg", "1.0", "http://127.0.0.1/files/pkg-1.0-py3-none-any.whl", None, 123, A, False, "2026-01-02T03:04:05Z"
    )
    assert second.yanked
    assert second.size is None


def test_an_html_page_lists_the_same() -> None:
    text = (
        f'<!DOCTYPE html><html><body><a href="../../files/pkg-1.0-py3-none-any.whl#sha256={A}" data-requires-python="&gt;=3.8">pkg-1.0</a>'
        '<a data-yanked="" href="/files/pkg-1.1%2Blocal-py3-none-any.whl">x</a><a href="pkg-1.tar.gz">sdist</a><a href="ftp://h/pkg-1-py3-none-any.whl">'
    )
    first, second = project_wheels(text, "text/html; charset=UTF-8", URL, URL)
    assert (first.sha256, first.url) == (A, "http://127.0.0.1/files/pkg-1.0-py3-none-any.whl")
    assert (second.filename, second.version, second.yanked, second.sha256) == ("pkg-1.1+local-py3-none-any.whl", "1.1+local", True, None)


def test_the_root_lists_projects_by_their_normal_names() -> None:
    text = json.dumps({"meta": {"api-version": "1.0"}, "projects": [{"name": "A.B"}, {"name": "a_b"}, {"name": "c"}, {"no": 1}]})
    assert project_names(text, JSON, URL) == ["a-b", "c"]
    assert project_names('<a href="a-b/">A.B</a> <a href="c/">c</a>', "text/html", URL) == ["a-b", "c"]


@pytest.mark.parametrize(
    ("text", "content_type", "words"),
    [
        ("{", JSON, "no JSON document"),
        ("[]", JSON, "no page of the simple API"),
        ('{"meta": {"api-version": "2.0"}, "files": []}', JSON, "no page of the simple API"),
        ('{"meta": {"api-version": "1.0"}}', JSON, "its list of files is missing"),
        ("\x89PNG", "image/png", "'image/png', no page of a simple index"),
        ("", "", "of no type"),
        ("[" * 100_000, JSON, "no JSON document"),
    ],
)
def test_what_is_no_page_is_one_line(text: str, content_type: str, words: str) -> None:
    with pytest.raises(UnreadableIndex, match=words) as error:
        project_wheels(text, content_type, URL, "http://host/simple/pkg/")
    assert error.value.hint
    assert error.value.message.startswith("http://host/simple/pkg/: ")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda s: (
            st.lists(s, max_size=4)
            | st.dictionaries(
                st.sampled_from(["meta", "api-version", "files", "filename", "url", "hashes", "sha256", "size", "yanked", "projects", "name"]),
                s,
                max_size=6,
            )
        ),
    )
)
@settings(max_examples=300, deadline=None)
def test_no_document_makes_a_traceback(document: object) -> None:
    for text in (json.dumps(document), json.dumps({"meta": {"api-version": "1.0"}, "files": document, "projects": document})):
        for read in (lambda t: project_wheels(t, JSON, URL, URL), lambda t: project_names(t, JSON, URL)):
            try:
                read(text)
            except UnreadableIndex:
                continue


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x.whl",
        "../pkg-1.0-py3-none-any.whl",
        "pkg-1.0-py3-none-any.whl.exe",
        "pkg-one-py3-none-any.whl",
        "a/b-1-py3-none-any.whl",
        "pkg-1.0-py3-no\0ne-any.whl",
    ],
)
def test_names_that_are_no_wheels_are_left_out(name: str) -> None:
    assert listed_wheel(name) is None


NO_ADDRESSES = ["http://[h/", "http://h:99999/", "http://h:x/", "http://\ud800/", "http://h/\ud800", "//h/"]


@pytest.mark.parametrize("place", NO_ADDRESSES)
def test_addresses_that_are_none(place: str) -> None:
    """Each of them was an error of its own kind, which ended the run or was called a bug of ours."""
    name = "pkg-1.0-py3-none-any.whl"
    row = {"filename": name, "url": place + name}
    found = project_wheels(json.dumps({"meta": {"api-version": "1.0"}, "files": [row]}), JSON, URL, URL)
    assert [wheel.url for wheel in found] == ([f"http://h/{name}"] if place == "//h/" else [])
    page = project_wheels(f'<a href="{place}{name}#sha256={A}">x</a>', "text/html", URL, URL)
    assert [wheel.url for wheel in page] == [wheel.url for wheel in found]
    if place.isascii():
        with pytest.raises(UnreadableIndex, match="is no address"):
            read_lock("uv.lock", f'version = 1\n[[package]]\nwheels = [{{ url = "{place}{name}" }}]\n')
        package = f'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "pkg"\n[[packages.wheels]]\nname = "{name}"\n'
        with pytest.raises(UnreadableIndex, match="is no address"):
            read_lock("pylock.toml", f'{package}url = "{place}{name}"\nhashes = {{ sha256 = "{A}" }}\n')


def test_a_version_of_thousands_of_digits_is_no_wheels() -> None:
    assert listed_wheel(f"pkg-{'9' * 5000}-py3-none-any.whl") is None


def test_projects_whose_names_are_none() -> None:
    names = ["../../x", "a?b", "\ud800", "a\0", "", "-a", "a b", "good"]
    text = json.dumps({"meta": {"api-version": "1.0"}, "projects": [{"name": name} for name in names]})
    assert project_names(text, JSON, URL) == ["good"]


def test_what_a_list_says_wrongly_is_not_believed() -> None:
    found = listed_wheel("pkg-1.0-py3-none-any.whl", size=-4, sha256="A" * 63, uploaded="\x1b[31m")
    assert found is not None
    assert (found.size, found.sha256, found.uploaded) == (None, None, None)
    kept = listed_wheel("pkg-1.0-py3-none-any.whl", size=True, sha256="AB" * 32)
    assert kept is not None
    assert (kept.size, kept.sha256) == (None, "ab" * 32)


def some(version: str, *, yanked: bool = False, tag: str = "py3-none-any", project: str = "pkg") -> ListedWheel:
    return ListedWheel(f"{project}-{version}-{tag}.whl", project, version, url="http://h/x", yanked=yanked)


def test_the_newest_release_is_a_final_one_that_is_not_yanked() -> None:
    wheels = [some("1.0"), some("1.10"), some("1.9"), some("2.0", yanked=True), some("3.0rc1"), some("1.10", tag="cp312-cp312-win32")]
    assert [w.version for w in newest_releases(wheels, 1)] == ["1.10", "1.10"]
    assert [w.version for w in newest_releases(wheels, 2)] == ["1.10", "1.10", "1.9"]
    assert [w.version for w in newest_releases([some("3.0rc1"), some("3.0a1")], 1)] == ["3.0rc1"]


def test_projects_and_patterns_choose() -> None:
    wheels = [some("1.0"), some("1.0", project="other"), some("1.0", tag="cp312-cp312-musllinux_1_2_x86_64")]
    assert wanted(wheels, ["PKG"], []) == [wheels[0], wheels[2]]
    assert wanted(wheels, [], ["*musllinux*"]) == [wheels[2]]


def test_a_password_is_never_shown() -> None:
    assert safe_url("https://me:secret@host/simple/") == "https://host/simple/"
    assert some("1.0").place == "http://h/x"
    assert safe_url("mirror/folder@2") == "mirror/folder@2"


PYLOCK = f"""
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "pkg"
version = "1.0"
[[packages.wheels]]
name = "pkg-1.0-py3-none-any.whl"
url = "http://h/pkg-1.0-py3-none-any.whl"
size = 7
hashes = {{sha256 = "{A}"}}
[[packages.wheels]]
path = "wheels/pkg-1.0-cp312-cp312-linux_x86_64.whl"
hashes = {{sha256 = "{B}"}}
"""
UV = f"""
version = 1
[[package]]
name = "pkg"
version = "1.0"
wheels = [{{ url = "http://h/a/pkg-1.0-py3-none-any.whl", hash = "sha256:{A}", size = 7 }}, {{ path = "pkg-1.0-cp312-cp312-linux_x86_64.whl" }}]
"""
REQUIREMENTS = f"""
# a comment
--index-url http://h/simple/
pkg==1.0 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}   # both
Other.Name[extra] == 2.0 ; python_version > "3.8"
"""


def test_lock_files_list_what_they_can_install() -> None:
    wheels = read_lock("some/pylock.toml", PYLOCK).wheels
    assert [(w.sha256, w.size, w.url, w.path) for w in wheels] == [
        (A, 7, "http://h/pkg-1.0-py3-none-any.whl", None),
        (B, None, None, "wheels/pkg-1.0-cp312-cp312-linux_x86_64.whl"),
    ]
    wheels = read_lock("uv.lock", UV).wheels
    assert [(w.sha256, w.size, w.path) for w in wheels] == [(A, 7, None), (None, None, "pkg-1.0-cp312-cp312-linux_x86_64.whl")]
    pins = read_lock("requirements.txt", REQUIREMENTS).pins
    assert [(p.project, p.version, p.sha256) for p in pins] == [("pkg", "1.0", frozenset({A, B})), ("other-name", "2.0", frozenset())]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("pylock.toml", "lock-version = 1", "pylock.toml: "),
        ("pylock.toml", "= =", "not valid TOML"),
        ("pylock.toml", 'lock-version = "9.0"\ncreated-by = "x"\npackages = []', "9.0"),
        ("uv.lock", "version = 7", "it is of version 7"),
        ("requirements.txt", "pkg>=1.0", "requirements.txt:1: 'pkg>=1.0' pins no version"),
        ("requirements.txt", "\n\npkg==1.*", "requirements.txt:3: "),
        ("requirements.txt", "pkg @ http://h/x.whl", "pins no version"),
        ("requirements.txt", "!!", "is no requirement"),
        ("poetry.lock", "", "no lock file that is known"),
    ],
)
def test_lock_files_that_are_wrong_are_one_line(name: str, text: str, words: str) -> None:
    with pytest.raises(UnreadableIndex, match=words) as error:
        read_lock(name, text)
    assert error.value.hint


def test_a_folder_is_listed_at_any_depth_and_says_what_it_lacks(tmp_path: Path) -> None:
    for name in ("a/b/pkg-1.0-py3-none-any.whl", "pkg-2.0-py3-none-any.whl", "other-1.0-py3-none-any.whl", "x.txt", "bad.whl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    with_all = list(list_wheels(str(tmp_path), Selection(latest=0), Connection()))
    assert sorted(w.filename for w in with_all if isinstance(w, ListedWheel)) == [
        "other-1.0-py3-none-any.whl", "pkg-1.0-py3-none-any.whl", "pkg-2.0-py3-none-any.whl",
    ]  # fmt: skip
    (newest,) = list_wheels(str(tmp_path), Selection(projects=("pkg",)), Connection())
    assert isinstance(newest, ListedWheel)
    assert (newest.filename, newest.size, newest.place) == ("pkg-2.0-py3-none-any.whl", 5, str(tmp_path / "pkg-2.0-py3-none-any.whl"))
    with pytest.raises(UsageError, match="no such folder"):
        list(list_wheels(str(tmp_path / "none"), Selection(), Connection()))


def test_a_lock_file_that_is_missing_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        list(locked_wheels(tmp_path / "pylock.toml", None, Connection()))
    (tmp_path / "pylock.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UnreadableIndex, match="UTF-8"):
        list(locked_wheels(tmp_path / "pylock.toml", None, Connection()))
    with pytest.raises(TlsWheelGuardError, match="can't be read"):
        list(locked_wheels(tmp_path, None, Connection()))


def test_paths_in_a_lock_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text(UV)
    wheels = [w for w in locked_wheels(tmp_path / "uv.lock", None, Connection()) if isinstance(w, ListedWheel)]
    assert wheels[1].path == str(tmp_path / "pkg-1.0-cp312-cp312-linux_x86_64.whl")


def test_the_index_is_the_one_that_pip_uses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/one/ ")
    assert configured_index() == "http://127.0.0.1:1/one/"
    monkeypatch.delenv("PIP_INDEX_URL")
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:1/two/\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert configured_index() == "http://127.0.0.1:1/two/"
    (tmp_path / "pip.conf").write_text("")
    monkeypatch.setattr(sources, "_pip", lambda *_: "")
    with pytest.raises(UsageError, match="pip names no index"):
        configured_index()
