"""The configuration: defaults, documentation, and what is wrong in it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.config import Config, load
from moorage.errors import Code, Refused
from moorage.places import default_socket, default_state

FILE = Path(__file__).parents[1] / "config/moorage.toml"
PORTS = st.integers(1, 65535)


def test_the_documented_file_has_every_key_with_its_default() -> None:
    """config/moorage.toml names each key once, with its default, or as a comment where that is computed."""
    text = FILE.read_text()
    written = tomllib.loads(text)
    commented = re.findall(r"^# (\w+) = ", text, re.MULTILINE)
    defaults = {key: value for key, value in asdict(Config()).items() if value is not None}

    assert written == {
        key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()
    }
    assert sorted([*written, *commented]) == sorted(field.name for field in fields(Config))


def test_the_documented_file_is_the_default_configuration() -> None:
    """Loading it as it is changes nothing, and its commented examples are good values too."""
    text = FILE.read_text()

    assert load(FILE) == Config()
    Config(**tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)))


def test_a_file_is_loaded(tmp_path: Path) -> None:
    """The keys of a file are those of the configuration."""
    file = tmp_path / "moorage.toml"
    file.write_text('kernel = "memory"\nallow_uids = [7, 8]\nport_range = "50000-50009"\nquarantine = 0.5\n')
    config = load(file)

    assert (config.kernel, config.allow_uids, config.quarantine) == ("memory", (7, 8), 0.5)
    assert config.ports == range(50000, 50010)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("kernel", each) for each in ("windows", "", None, 1, ["linux"])),
        *(("state", each) for each in ("", "a\0b", 7)),
        *(("socket", each) for each in ("", "a\0b", 7)),
        *(("bridge", each) for each in ("", "a/b", "x" * 16, "..", None)),
        *(("subnet", each) for each in ("", "10.0.0.0", "fd00::/64", 10)),
        *(("default_network", each) for each in (1, "true", None)),
        *(
            ("port_range", each)
            for each in ("", "1", "0-9", "9-1", "1-65536", "a-b", "1-2-3", "+1-5", "\u0661-\u0662", 5)
        ),
        *(("loopback", each) for each in ("userland", None)),
        *(("allow_uids", each) for each in ("7", [True], [-1], ["root"], 7, [2**32 - 1])),
        *(("allow_gids", each) for each in ([None], None)),
        *(("quarantine", each) for each in (-1, "5", True, float("nan"), float("inf"), None)),
        *(("chaos", each) for each in (0, "no")),
        *(("log_level", each) for each in ("loud", "INFO", None)),
    ],
)
def test_a_wrong_value_is_named(key: str, value: Any) -> None:
    """A value of the wrong type or range is invalid, and its key is named."""
    with pytest.raises(Refused, match=key) as caught:
        Config(**{key: value})

    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize(
    ("text", "named"),
    [('bridge = "a/b"', "bridge"), ("brigde = 1", "brigde"), ("bridge = ", "TOML"), ("[bridge]", "bridge")],
)
def test_a_wrong_file_is_named(text: str, named: str, tmp_path: Path) -> None:
    """What is wrong in a file is named together with the file."""
    file = tmp_path / "moorage.toml"
    file.write_text(text)

    with pytest.raises(Refused, match=named) as caught:
        load(file)

    assert str(file) in caught.value.text


@pytest.mark.parametrize("content", [None, b"\xff"], ids=["missing", "no UTF-8"])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    """A file that is not there, or not text, is refused by its name."""
    file = tmp_path / "moorage.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(Refused, match=r"moorage\.toml"):
        load(file)


@given(PORTS, PORTS)
def test_port_ranges_include_both_ends(one: int, other: int) -> None:
    """A range has its first and its last port, and is refused when it runs backwards."""
    if one > other:
        with pytest.raises(Refused):
            Config(port_range=f"{one}-{other}")
    else:
        assert Config(port_range=f"{one}-{other}").ports == range(one, other + 1)


@pytest.mark.parametrize(
    ("uid", "environment", "socket", "state"),
    [
        (0, {}, "/run/moorage/moorage.sock", "/var/lib/moorage"),
        (
            7,
            {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/s"},
            "/run/user/7/moorage/moorage.sock",
            "/s/moorage",
        ),
        (7, {"HOME": "/home/u"}, "/run/user/7/moorage/moorage.sock", "/home/u/.local/state/moorage"),
        (7, {"MOORAGE_SOCKET": "/x.sock", "HOME": "/h"}, "/x.sock", "/h/.local/state/moorage"),
    ],
)
def test_places_depend_on_who_asks(
    uid: int, environment: dict[str, str], socket: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root has places in the system, others their own, and $MOORAGE_SOCKET goes before both."""
    monkeypatch.setattr("os.geteuid", lambda: uid)
    for name in ("MOORAGE_SOCKET", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert (default_socket(), default_state()) == (socket, state)
    config = Config()
    assert (str(config.socket_path), str(config.state_path)) == (socket, state)
    assert str(Config(socket="/a", state=Path("/b")).state_path) == "/b"
