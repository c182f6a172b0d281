"""`moorage agent`: where its configuration comes from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moorage.cli import main


def agent_command(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> tuple[int, str, Any]:
    """Run `moorage agent` with the service replaced; gives exit code, what was called, its configuration."""
    called: list[tuple[str, Any]] = []
    service = SimpleNamespace(
        run=lambda config, *, replacing: called.append(("replace" if replacing else "run", config)) or 0,
        down=lambda config: called.append(("down", config)) or 0,
    )
    monkeypatch.setitem(sys.modules, "moorage.service", service)
    code = main(["agent", *arguments])
    return code, *(called[0] if called else ("", None))


def test_flags_of_the_agent_go_before_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`agent` takes its configuration from the file and the flags, flags first."""
    monkeypatch.delenv("MOORAGE_SOCKET", raising=False)
    file = tmp_path / "moorage.toml"
    file.write_text('bridge = "br7"\nsocket = "/run/a.sock"\nquarantine = 5\n')

    code, what, config = agent_command(
        monkeypatch,
        ["--config", str(file), "--bridge", "br8", "--kernel", "memory", "--chaos", "--state", str(tmp_path)],
    )

    assert (code, what) == (0, "run")
    assert (config.bridge, config.socket, config.quarantine) == ("br8", "/run/a.sock", 5)
    assert (config.kernel, config.chaos, config.state) == ("memory", True, str(tmp_path))


@pytest.mark.parametrize(
    ("flags", "environment", "socket"),
    [
        (["--socket", "/run/b.sock"], "/run/c.sock", "/run/b.sock"),
        ([], "/run/c.sock", "/run/c.sock"),
        ([], "", None),
    ],
)
def test_the_socket_is_the_flag_or_the_environment(
    flags: list[str], environment: str, socket: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent listens where `--socket` says, else `$MOORAGE_SOCKET`."""
    monkeypatch.setenv("MOORAGE_SOCKET", environment)

    assert agent_command(monkeypatch, flags)[2].socket == socket


def test_agent_down_is_another_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """`agent --down` removes, with the configuration of the same flags."""
    _, what, config = agent_command(monkeypatch, ["--down", "--bridge", "br8"])

    assert (what, config.bridge) == ("down", "br8")


def test_an_agent_can_replace_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """`agent --replace` runs too, and takes over from the agent that does."""
    _, what, config = agent_command(monkeypatch, ["--replace", "--bridge", "br8"])

    assert (what, config.bridge) == ("replace", "br8")


@pytest.mark.parametrize(
    "flag",
    [
        *(["--bridge", each] for each in ("a/b", "", "x" * 16, "..")),
        *(["--kernel", each] for each in ("windows", "", "Linux")),
        *(["--subnet", each] for each in ("10.0.0.0", "", "10.0.0.1/32", "10.0.0.0/33", "fd00::/64", "web")),
        *([flag, ""] for flag in ("--state", "--socket", "--config")),
        *([flag] for flag in ("--kernel", "--subnet", "--bridge", "--state", "--socket", "--config")),
        *([each] for each in ("--nothing", "--chaos=yes", "--replace=1", "now")),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("down", [[], ["--down"]], ids=["", "down"])
def test_a_flag_that_cannot_be_is_usage(
    flag: list[str], down: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag that is none, or has a value that it cannot have, is usage, named, and nothing is started."""
    with pytest.raises(SystemExit) as ended:
        agent_command(monkeypatch, [*flag, *down])

    assert ended.value.code == 2
    assert flag[0].partition("=")[0] in capsys.readouterr().err


def test_a_wrong_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with a wrong key or value, or none at all, is refused, named."""
    file = tmp_path / "moorage.toml"
    for text, named in (('kernel = "windows"', "kernel"), ("colour = 1", "colour"), ("=", str(file))):
        file.write_text(text)
        code, what, _ = agent_command(monkeypatch, ["--config", str(file)])
        assert (code, what) == (1, "")
        assert named in capsys.readouterr().err
    assert agent_command(monkeypatch, ["--config", str(tmp_path / "none")])[:2] == (1, "")


FAIL = """
import sys
from moorage import cli, errors, service
def fail(*_, **__):
    raise eval(sys.argv[1], vars(errors))
service._start = service.remove_all = fail
sys.exit(cli.main(["agent", "--kernel", "memory", *sys.argv[2:]]))
"""


@pytest.mark.parametrize("flags", [[], ["--down"]])
@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ("Refused(Code.EXISTS, 'one runs')", 1, "moorage: exists: one runs\n"),
        ("Fault('it hangs')", 4, "moorage: internal: it hangs\n"),
    ],
)
def test_a_start_fails_as_a_command_does(error: str, code: int, text: str, flags: list[str]) -> None:
    """What keeps an agent from starting, or `--down` from its end, is a sentence, and a fault no refusal."""
    done = subprocess.run(
        [sys.executable, "-c", FAIL, error, *flags], capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stderr) == (code, text)
