"""Rules and routes of ours where a bridge is not as it should be."""

from __future__ import annotations

from contextlib import closing

import pytest

from lab import Lab
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.protocol import Kept
from uplinks import NETWORKS, rules_of_ours

pytestmark = pytest.mark.system

NETS = [("fd00:42::/64", "br-up"), ("fd00:43::/64", "br-down")]


def test_a_bridge_that_is_down_keeps_no_other_from_its_route(lab: Lab) -> None:
    """Nobody is warned of it, and its own route is there as soon as it is up, at the next look."""
    for bridge in ("br-up", "br-down"):
        lab.run("host", ["ip", "link", "add", bridge, "type", "bridge"])
    lab.run("host", ["ip", "link", "set", "br-up", "up"])

    def keep(firewall: LinuxFirewall) -> Kept:
        return firewall.keep_answers(NETS, lambda _path, _value: None, repair=True)

    def has_route(to: str) -> bool:
        return any(line.startswith(to) for line in rules_of_ours(lab))

    with closing(lab.call("host", lambda: LinuxFirewall(loopback="kernel"))) as firewall:
        assert lab.call("host", keep, firewall).warnings == []
        assert (has_route("fd00:42::/64"), has_route("fd00:43::/64")) == (True, False)
        assert lab.call("host", firewall.changed)
        lab.run("host", ["ip", "link", "set", "br-down", "up"])
        kept = lab.call("host", keep, firewall)
        assert kept == Kept([], [f"the route to fd00:43::/64 of table {NETWORKS} was missing"])
        assert has_route("fd00:43::/64")
        lab.call("host", firewall.changed)  # takes note of the rules that were written
        assert not lab.call("host", firewall.changed)
