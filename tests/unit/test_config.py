"""Settings and their mistakes."""

from __future__ import annotations

import pytest

from tls_wheel_guard.config.fields import allow_from_option
from tls_wheel_guard.config.model import Allow, Config
from tls_wheel_guard.config.sources import from_environment, from_toml, merge
from tls_wheel_guard.errors import ConfigError
from tls_wheel_guard.findings import Finding

TABLE = "[tool.tls-wheel-guard]\n"


def test_every_setting() -> None:
    text = f"""{TABLE}
action = "warn"
fail-on = "error"
targets = ["freebsd_14_0_amd64"]
crowding = 0.5
set-flag = false
room = 1000
select = ["initial-exec-tls"]
ignore = ["unflagged-static-tls"]
strict = true
build-backend = "maturin"
backend-path = ["."]
[[tool.tls-wheel-guard.allow]]
module = "vendor/libprofiler.so"
rule = "initial-exec-tls"
reason = "only ever used with LD_PRELOAD"
"""
    assert merge(from_toml(text, "pyproject.toml")) == Config(
        action="warn",
        fail_on="error",
        targets=("freebsd_14_0_amd64",),
        crowding=0.5,
        set_flag=False,
        room=1000,
        select=("initial-exec-tls",),
        ignore=("unflagged-static-tls",),
        strict=True,
        build_backend="maturin",
        backend_path=(".",),
        allow=(Allow("vendor/libprofiler.so", "initial-exec-tls", "only ever used with LD_PRELOAD"),),
    )


def test_nothing_of_ours() -> None:
    assert from_toml("[project]\nname = 'x'\n", "p") == from_toml("", "p") == {}


@pytest.mark.parametrize(
    ("line", "words", "hint"),
    [
        ('actoin = "fail"', "unknown key 'actoin'", "did you mean 'action'?"),
        ('action = "fial"', "tool.tls-wheel-guard.action: unknown value 'fial'", "did you mean 'fail'?"),
        ("action = 3", "unknown value 3", "known: fail"),
        ('fail-on = "warn"', "unknown value 'warn'", "did you mean 'warning'?"),
        ('targets = "freebsd_14_0_amd64"', "is not a list of strings", '["a", "b"]'),
        ('targets = ["freebsd"]', "unknown platform tag 'freebsd'", "tags look like"),
        ("crowding = 2", "is not a share from 0 to 1", "configuration.md"),
        ("crowding = true", "is not a share from 0 to 1", "configuration.md"),
        ("room = -1", "is not a number of bytes", "configuration.md"),
        ("room = 1.5", "is not a number of bytes", "configuration.md"),
        ('set-flag = "yes"', "is not true or false", "without quotes"),
        ('ignore = ["initial-exec"]', "unknown value 'initial-exec'", "did you mean 'initial-exec-tls'?"),
        ('build-backend = ""', "is not the name of a backend", "maturin"),
        ("allow = 3", "not an array of tables", "[[tool.tls-wheel-guard.allow]]"),
        ('[[tool.tls-wheel-guard.allow]]\nmodul = "x"', "allow[0]: unknown key 'modul'", "did you mean 'module'?"),
        ('[[tool.tls-wheel-guard.allow]]\nmodule = "x"', "allow[0]: no rule", "initial-exec-tls"),
        ('[[tool.tls-wheel-guard.allow]]\nmodule = 3\nrule = "x"', "allow[0].module: 3 is not a string", "quotes"),
        ("room = ", "not valid TOML", "--no-config"),
    ],
)
def test_mistakes_name_the_place_and_the_value(line: str, words: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_toml(TABLE + line, "pyproject.toml")
    assert raised.value.message.startswith("pyproject.toml: ")
    assert words in raised.value.message
    assert hint in (raised.value.hint or "")
    assert raised.value.exit_code == 2


def test_a_table_that_is_none() -> None:
    with pytest.raises(ConfigError, match="is not a table"):
        from_toml("[tool]\ntls-wheel-guard = 3", "p")


def test_environment() -> None:
    found = from_environment(
        {
            "TLS_WHEEL_GUARD_FAIL_ON": "never",
            "TLS_WHEEL_GUARD_TARGETS": "musllinux_1_2_x86_64, freebsd_14_0_amd64",
            "TLS_WHEEL_GUARD_ROOM": "99",
            "TLS_WHEEL_GUARD_STRICT": "1",
            "PATH": "/bin",
        }
    )
    assert merge(found) == Config(fail_on="never", targets=("musllinux_1_2_x86_64", "freebsd_14_0_amd64"), room=99, strict=True)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("TLS_WHEEL_GUARD_ROM", "1", "did you mean 'TLS_WHEEL_GUARD_ROOM'?"),
        ("TLS_WHEEL_GUARD_ROOM", "many", "'many' is not a number of bytes"),
        ("TLS_WHEEL_GUARD_ACTION", "stop", "unknown value 'stop'"),
        ("TLS_WHEEL_GUARD_SET_FLAG", "maybe", "'maybe' is not true or false"),
    ],
)
def test_mistakes_in_the_environment(variable: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_environment({variable: value})
    assert words in raised.value.line()
    assert variable in raised.value.line()


def test_order_of_precedence() -> None:
    low, middle, high = {"room": 1, "fail_on": "error", "targets": ("a",)}, {"room": 2}, {"room": 3, "targets": ("b",)}
    merged = merge(low, middle, high)
    assert (merged.room, merged.fail_on, merged.targets) == (3, "error", ("a", "b"))


def test_an_allow_for_a_wheel_holds_in_an_editable_build() -> None:
    def finding(module: str) -> Finding:
        return Finding("initial-exec-tls", "warning", module, ("x",), ())

    allow = Allow("pkg/_m*.so", "initial-exec-tls", "known")
    assert allow.matches(finding("pkg/_m.so"))
    assert allow.matches(finding("/home/me/project/src/pkg/_m.abi3.so"))
    assert not allow.matches(finding("src/pkg/_m.so"))
    assert not allow.matches(finding("/home/me/otherpkg/_m.so"))
    assert not Allow("pkg/_m*.so", "static-tls-crowding", "known").matches(finding("pkg/_m.so"))


def test_allow_on_the_command_line() -> None:
    assert allow_from_option("*.libs/*:initial-exec-tls:we know") == Allow("*.libs/*", "initial-exec-tls", "we know")
    assert allow_from_option("x:initial-exec-tls").reason == "given on the command line"
    for text in ("x", ":initial-exec-tls", "x:initial"):
        with pytest.raises(ConfigError):
            allow_from_option(text)


def test_what_a_config_means() -> None:
    assert Config().rules[0] == "initial-exec-tls"
    assert Config(action="warn").never_fails
    assert Config(fail_on="never").never_fails
    assert not Config().never_fails
    assert Config(targets=("freebsd_14_0_amd64",)).more_targets[0].libc == "freebsd"
