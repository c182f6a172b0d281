"""What bin/test and bin/demo do where something is missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "bin" / "setup.sh"
ALL = "apt-get install --no-install-recommends one two three"


def install(
    script: str = "", needed: str = "one two", wanted: str = "three", user: int = 1000, works: str = "false"
) -> tuple[int, list[str]]:
    """Run it with these missing, by that user, with an apt-get that does as `works` says; status, and what it said."""
    stand_ins = f"""
        . {SETUP}
        needed_packages() {{ echo {needed}; }}
        wanted_packages() {{ echo {wanted}; }}
        id() {{ echo {user}; }}
        apt-get() {{ if [[ " $* " == *" install "* ]]; then echo "$*" >&2; {works}; fi; }}
        compgen() {{ true; }}
        {script}
        install_packages needed_packages wanted_packages
    """
    done = subprocess.run(["bash", "-c", stand_ins], capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_a_user_is_told_all_that_is_missing_in_one_line() -> None:
    """Whoever cannot install is given one command with everything, also what only some tests want."""
    status, (said,) = install()
    assert status == 1
    assert said.endswith(f"this machine lacks what is needed; as root, run: {ALL}")


def test_what_only_some_tests_want_stops_nobody() -> None:
    """Without a compiler or the JavaScript client the others run, and the same line says how to have them all."""
    status, (said,) = install(needed="")
    assert status == 0
    assert said.endswith(
        "tests will be skipped; to have them all, as root, run: " + ALL.replace("one two ", "")
    )


def test_a_system_without_apt_is_told_the_names() -> None:
    """Where packages are called otherwise there is no command, but what they are."""
    without = 'command() { [ "$2" != apt-get ] && builtin command "$@"; }'
    status, (said,) = install(without)
    assert status == 1
    assert said.endswith("install what Debian calls: one two three")


def test_a_machine_that_never_listed_packages_is_told_to() -> None:
    """The command works as it stands: packages are listed before they are installed."""
    assert f"run: apt-get update && {ALL}" in install("compgen() { false; }")[1][0]


def test_nothing_is_said_where_nothing_is_missing() -> None:
    """A machine that has everything is left alone."""
    assert install(needed="", wanted="") == (0, [])


@pytest.mark.parametrize(
    ("works", "status", "tried"), [("true", 0, 1), ('[[ "$*" != *three ]]', 0, 2), ("false", 1, 2)]
)
def test_root_installs_it(works: str, status: int, tried: int) -> None:
    """All at once; where that cannot be, what is needed alone."""
    ended, said = install(user=0, works=works)
    installed = [line.partition("recommends ")[2] for line in said if "no-install-recommends" in line]
    assert ended == status
    assert installed[:tried] == ["one two three", "one two"][:tried]
