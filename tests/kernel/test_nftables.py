"""What libnftables says of a failure, which is all that it gives: a text. Each is told apart as the kernel meant it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from moorage.kernel.linux.nftables import Nftables, NftablesError

pytestmark = pytest.mark.system

OUTCOME = """
from moorage.errors import Refused
from moorage.kernel.linux.nftables import Nftables, NftablesError, TooLongError
{set_up}
try:
    Nftables().run({commands})
except TooLongError as error:
    print("too long")
except Refused as error:
    print(error.code.value)
except NftablesError as error:
    print(error)
"""
MANY = """(
    "table ip many { set ports { type mark; }; }\\n" + "".join(
        f"add element ip many ports {{ {n} comment \\"{'-' * 120}\\" }}\\n"
        for n in range(int(open("/proc/sys/net/core/wmem_max").read()) // 60)
    )
)"""
"""Twice what anybody may set a send buffer to: newer versions of the library do that."""
SPEAK = "import locale; locale.setlocale(locale.LC_ALL, '')"
"""What a program that embeds the agent may do: strerror speaks the user's language from then on."""


def outcome(commands: str, *inside: str, set_up: str = "") -> str:
    code = OUTCOME.format(commands=commands, set_up=set_up)
    done = subprocess.run(
        [*inside, sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


@pytest.mark.parametrize("set_up", ["", SPEAK])
def test_who_may_not_is_denied(set_up: str) -> None:
    """Without CAP_NET_ADMIN a change is denied, in the words of whatever version and language."""
    without = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert outcome("'table ip x'", *without, set_up=set_up) == "denied"


def test_a_text_of_somebody_is_no_failure_of_the_kernel() -> None:
    """The library quotes the command after what was wrong with it; only what was wrong counts."""
    with pytest.raises(NftablesError) as caught:
        Nftables().run('add rule ip nothing nothing comment "Operation not permitted, Message too long"')
    assert type(caught.value) is NftablesError


def test_a_transaction_that_is_too_long_is_known() -> None:
    """Where send buffers cannot be made larger, that is what was wrong, so that it can be cut in pieces."""
    assert outcome(MANY, "unshare", "-Urn") == "too long"
