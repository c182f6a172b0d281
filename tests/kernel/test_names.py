"""Names of bridges on their way into rules: what former versions took, and what firewalls make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from firewall_stand import NETWORK, Stand
from host_iptables import Iptables, needed
from host_links import NETWORK as HOST_NETWORK
from host_links import HostLinks
from lab import Lab
from moorage.kernel.linux import audit, elements, ruleset
from moorage.kernel.linux.forward import Forwarding
from moorage.kernel.linux.legacy import _script
from moorage.kernel.linux.nfnetlink import Netlink, attribute, generic, nested
from moorage.kernel.linux.nftables import Nftables
from moorage.kernel.protocol import Element, Forwarded
from moorage.model.elements import network_elements
from moorage.model.link_names import can_be_said, is_link_name
from refusals import code_of

pytestmark = pytest.mark.system

FORMER = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/:%"), min_size=1, max_size=15
)
"""The names that former versions took."""
ODD = ("n*", "*", "vpn+", "+", "n\\", "a\\b", "$x", "@x", "#x", "a;b", "a{b", "a'b", "-", "{}", "a,b")
ONCE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ONCE
@given(FORMER)
@example("n*")
@example("n\\*")
@example('a"}#')
@example('x","eth0')
def test_a_name_in_a_rule_is_that_name(at: Stand, name: str) -> None:
    """Whatever former versions took is one element of each set, with just that name, or cannot be said at all."""
    made = network_elements(replace(NETWORK, bridge=name, internal=True))
    at.lab.call("host", at.firewall.install, made)
    assert list(at.lab.call("host", at.firewall.install, made)) == []
    with at.lab.call("host", Netlink) as netlink:
        assert elements.read(netlink) - at.firewall._spread - at.firewall._own == made
    assert {each.container for each in made if name in each.key} == (
        {"bridges", "samebr", "internal", "net4if", "net6if"} if can_be_said(name) else set()
    )


@given(st.text(max_size=20), st.sampled_from(["ipv4_addr", "inet_service", "ifname"]))
def test_nothing_breaks_out_of_its_place(text: str, kind: str) -> None:
    """A part of an element is a name between quotes, or has none of the signs that mean something, or is refused."""
    try:
        written = ruleset._literal(kind, text)
    except ValueError:
        return
    inside = written[1:-1] if kind == "ifname" else written
    assert '"' not in inside
    assert "\n" not in inside
    assert kind == "ifname" or not set(inside) & set(" {};,#*$@\\'")


def test_an_element_that_cannot_be_said_goes_with_the_table(at: Stand) -> None:
    """Whoever puts a name that we cannot write into a set of ours finds it gone, and all else as it was."""
    wanted = network_elements(NETWORK)
    strange = Element("bridges", ('a"b',))
    assert ruleset.can_say(strange) is False
    assert not audit.can_adjust(wanted, {*wanted, strange})
    assert audit.can_adjust({*wanted, strange}, wanted)
    at.lab.call("host", add, strange)
    assert at.firewall.install(wanted) == ['element bridges a"b was not ours']
    assert at.firewall.install(wanted) == []


def add(element: Element) -> None:
    """Add an element to a set by netlink, whatever its name."""
    key = str(element.key[0]).encode().ljust(16, b"\0")
    entry = nested(1, nested(1, attribute(1, key)))
    with Netlink() as netlink:
        table, name = attribute(1, b"moorage\0"), attribute(2, element.container.encode() + b"\0")
        netlink.transact([(10 << 8 | 12, 0x400, generic(1) + table + name + nested(3, entry))])


@pytest.mark.parametrize("kind", ["nft", "legacy"])
def test_forward_is_not_opened_by_a_pattern(lab: Lab, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bridges of former versions called `+`, `vpn+` or `n*` are not let through, and named; others are, by name."""
    environment = needed()
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    tables = Iptables(lab, kind, environment)
    tables.run("-P FORWARD DROP")
    forwarding, nftables = _forwarding(lab)
    odd = [Forwarded(name, ipv6=True) for name in ("+", "vpn+", "n*", "n\\*")]
    for good in ("-j", "--", "-A", ".x", "a.b", "_"):
        kept = lab.call("host", forwarding.keep, [*odd, Forwarded(good, ipv6=True)])
        assert len(kept.warnings) == 2 * len(odd), kept.warnings
        assert all("would take its name for a pattern" in each for each in kept.warnings)
        assert set(tables.run("-S MOORAGE").splitlines()) == {
            *("-N MOORAGE", f"-A MOORAGE -i {good} -j ACCEPT", f"-A MOORAGE -o {good} -j ACCEPT")
        }
        assert lab.call("host", forwarding.keep, [*odd, Forwarded(good, ipv6=True)]).repaired == []
    nftables.close()


def _forwarding(lab: Lab) -> tuple[Forwarding, Nftables]:
    def make() -> tuple[Forwarding, Nftables]:
        nftables = Nftables()
        return Forwarding(Netlink(), nftables.run), nftables

    return lab.call("host", make)


@given(st.lists(st.text(max_size=16), max_size=3), st.integers(0, 2))
def test_a_script_for_iptables_has_the_lines_it_is_meant_to_have(names: list[str], jumps: int) -> None:
    """Whatever the names: each line is one of five, and a name that could be anything else is not written."""
    if not all(map(is_link_name, names)):
        with pytest.raises(ValueError, match="iptables cannot say"):
            _script(names, jumps)
        return
    lines = _script(names, jumps).splitlines()
    rules = [f"-A MOORAGE {way} {name} -j ACCEPT" for name in names for way in ("-i", "-o")]
    last = "-A FORWARD -j MOORAGE" if names else "-X MOORAGE"
    assert lines == [
        "*filter",
        ":MOORAGE - [0:0]",
        *["-D FORWARD -j MOORAGE"] * jumps,
        *rules,
        last,
        "COMMIT",
    ]


def test_a_bridge_that_no_rule_can_name_is_cut_off(links: HostLinks) -> None:
    r"""A network of a former version on `n\*` has its containers' ports set down, again too, and takes no other."""
    network = replace(HOST_NETWORK, bridge="n\\*")
    links.ip("link", "add", "n\\*", "type", "bridge")
    web = links.interface("web", 2, netns="", ifname="eth0")
    links.ip("link", "add", "mgweb", "type", "veth", "peer", "name", "mgweb2")
    links.ip("link", "set", "mgweb", "master", "n\\*", "up", "alias", "moorage:web")
    for _ in range(2):
        assert code_of(links.ensure_network, network) == "unsupported"
        assert ",UP" not in links.ip("link", "show", "dev", "mgweb").partition(">")[0]
        links.ip("link", "set", "mgweb", "up")
    assert code_of(links.attach, web, network) == "unsupported"
    told = links.reconcile([network], []).repaired
    assert sum("no rule can name the bridge" in each for each in told) == 1
    assert not any("no rule" in each for each in links.reconcile([network], []).repaired)
