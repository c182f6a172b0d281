"""The table of bridges on a kernel that has none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from firewall_stand import NETWORK
from lab import Lab
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.linux.guard import UNGUARDED
from moorage.kernel.linux.nftables import NftablesError
from moorage.kernel.protocol import Element, Forwarded
from moorage.model.elements import network_elements

pytestmark = pytest.mark.system

WANTED = network_elements(NETWORK) | {
    Element("ports", ("mgx",)),
    Element("own4", ("mgx", "02:00:00:00:00:01", "10.0.42.2")),
}


@pytest.fixture
def firewall(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinuxFirewall]:
    """A firewall whose kernel refuses every transaction about bridges."""
    made = lab.call("host", LinuxFirewall, loopback="kernel")
    run = made._run

    def refusing(commands: Sequence[str]) -> None:
        if any("bridge moorage" in command for command in commands):
            raise NftablesError("Operation not supported")
        run(commands)

    monkeypatch.setattr(made, "_run", refusing)
    monkeypatch.setattr(made._guard, "_run", refusing)
    yield made
    made.close()


def test_everything_else_works(lab: Lab, firewall: LinuxFirewall) -> None:
    """The other table is kept, changed and removed as ever, and what is missing is said for as long as it matters."""
    kept = lab.call("host", firewall.install, WANTED)
    assert kept == ["table inet moorage was missing"]
    assert lab.call("host", firewall.install, WANTED) == []
    lab.call("host", firewall.change, [Element("own4", ("mgy", "02:00:00:00:00:02", "10.0.42.3"))], [])
    assert UNGUARDED in lab.call("host", firewall.keep_forwarding, [Forwarded("moorage0")]).warnings
    assert UNGUARDED not in lab.call("host", firewall.keep_forwarding, []).warnings
    lab.call("host", firewall.remove)


LOOKED_UP = """
for file in /etc/protocols /etc/services /etc/nsswitch.conf; do
    [ ! -e $file ] || mount --bind /dev/null $file
done
exec "$@"
"""


def test_no_name_is_looked_up_on_the_host(lab: Lab) -> None:
    """A host without the files that give protocols and services their names has both tables whole, and adjusts them."""
    code = (
        "from kernel.test_guard_table import WANTED, LinuxFirewall\n"
        "made = LinuxFirewall(loopback='kernel')\n"
        "made.install(WANTED)\n"
        "made.change((), WANTED)\n"
        "print(made.install(WANTED)[:1], made.keep_forwarding(()).warnings)\n"
        "made.remove()"
    ).replace("\\\n", "\n")
    argv = ["unshare", "-m", "sh", "-euc", LOOKED_UP, "sh", sys.executable, "-c", code]
    tests = Path(__file__).parents[1]
    done = lab.call(
        "host", subprocess.run, argv, cwd=tests, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stderr, done.returncode, done.stdout) == (
        "",
        0,
        "['element bridges moorage0 was missing'] []\n",
    )
