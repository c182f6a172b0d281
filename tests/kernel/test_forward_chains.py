"""Forward chains of others in nftables: which of them stop our traffic, as the kernel has them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firewall_stand import Stand
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import Nftables
from moorage.kernel.protocol import Forwarded
from refusals import code_of

pytestmark = pytest.mark.system

BRIDGE = Forwarded("moorage0", ipv6=True)
BASE = "type filter hook forward priority 5; policy accept;"
FIREWALLD = f"""
table inet firewalld {{
    chain filter_FORWARD {{
        {BASE}
        ct state {{ established, related }} accept
        ct status dnat accept
        iifname "lo" accept
        ct state vmap {{ invalid : drop }}
        ip6 daddr {{ ::/96, 2002::/24 }} reject with icmpv6 addr-unreachable
        jump zones
        reject with icmpx admin-prohibited
    }}
    chain zones {{
        iifname {{ "eth7", "tun*" }} accept
        iifname "eth0" ip daddr 192.0.2.1 accept
        return
    }}
}}
"""
"""As firewalld writes it: what was translated passes, and what no zone has is rejected."""


@pytest.fixture
def theirs(at: Stand) -> Iterator[Nftables]:
    """Somebody who writes nftables rules in the host."""
    made = at.lab.call("host", Nftables)
    yield made
    made.close()


def warnings(at: Stand, *bridges: Forwarded) -> list[str]:
    kept = at.lab.call("host", at.firewall.keep_forwarding, bridges or [BRIDGE])
    assert list(kept.repaired) == []
    return list(kept.warnings)


def chain(*rules: str, policy: str = "accept", family: str = "inet", name: str = "strict") -> str:
    body = "\n".join((f"type filter hook forward priority 5; policy {policy};", *rules))
    return f"table {family} mine {{\n chain {name} {{\n {body}\n }}\n chain other {{\n counter drop\n }}\n}}"


def test_a_chain_that_drops_by_its_policy_is_named(at: Stand, theirs: Nftables) -> None:
    """A dropping forward chain that somebody wrote is named with its family and table, and left alone."""
    theirs.run(chain(policy="drop"))
    before = theirs.list("table inet mine")
    (warning,) = warnings(at)
    assert warning.startswith(
        "chain strict of nftables table inet mine drops published ports and what contain"
    )
    assert "moorage0 by its policy" in warning
    assert at.lab.call("host", at.firewall.keep_forwarding, []) == ([], [])
    assert theirs.list("table inet mine") == before


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("reject", "rejects"),
        ("counter log drop", "drops"),
        ("meta mark set 5 counter reject with icmpx admin-prohibited", "rejects"),
        ('oifname "moorage*" drop; drop', "drops"),
        ("jump other", "drops"),
        ("goto other", "drops"),
        ("ct state new,untracked drop", "drops"),
        ("meta nfproto ipv6 drop", "drops"),
    ],
)
def test_a_rule_for_everything_that_drops_is_named(
    at: Stand, theirs: Nftables, rule: str, named: str
) -> None:
    """Whatever else the rule does, and through whatever chain: it is named with its place."""
    theirs.run(chain("tcp dport 9 accept", *rule.split("; ")))
    (warning,) = warnings(at)
    assert warning.startswith(f"chain strict of nftables table inet mine {named} ")
    assert ("by rule 1 of chain other" if "other" in rule else "by rule ") in warning
    assert "(handle " in warning


@pytest.mark.parametrize(
    "rules",
    [
        ("tcp dport 9 drop",),
        ("ip saddr 192.0.2.0/24 drop", "limit rate over 5/second drop", "ct state invalid,untracked drop"),
        ("tcp dport 9 jump other",),
        ('iifname "eth7" goto other',),
        ("accept", "drop"),
        ("ct state new accept", "drop"),
        ("ct mark 7 drop",),
    ],
)
def test_a_rule_for_some_is_nothing_to_be_told(at: Stand, theirs: Nftables, rules: tuple[str, ...]) -> None:
    """Who drops an address, a port, or too much of something, wants that; what nobody can see is not guessed."""
    theirs.run(chain(*rules))
    assert warnings(at) == []


@pytest.mark.parametrize(
    "rules",
    [
        ('iifname "moorage0" accept', 'oifname "moorage0" accept'),
        ('iifname { "moorage0", "eth7" } accept', 'oifname { "moor*", "eth7" } accept'),
        ("iif moorage0 accept", "oif { moorage0, lo } accept"),
        ('iifname != { "eth0", "eth7" } accept', 'oifname "moorage0" accept'),
        ('iifname != "eth0" accept', "ct status dnat accept"),
        ('iifname "moor*" ct state new accept', "meta nfproto { ipv4, ipv6 } ct status dnat accept"),
    ],
)
def test_who_accepts_our_bridges_is_told_nothing(at: Stand, theirs: Nftables, rules: tuple[str, ...]) -> None:
    """Whoever does what the warning says, in whatever words, is rid of it; half of it leaves the other half."""
    at.lab.call("host", theirs.run, chain(*rules, policy="drop"))  # where links have their numbers
    assert warnings(at) == []
    theirs.run("delete table inet mine")
    at.lab.call("host", theirs.run, chain(*rules[:1], "reject"))
    (warning,) = warnings(at)
    assert "rejects published ports of moorage0 by rule 2 " in warning
    assert warnings(at, BRIDGE, Forwarded("mg-b")) != []


def test_a_set_decides_by_what_is_in_it_now(at: Stand, theirs: Nftables) -> None:
    """Bridges may be accepted by a named set, which is read at each look."""
    theirs.run(
        "table inet mine { set lan { type ifname; }; chain strict { "
        f"{BASE} iifname @lan accept; oifname @lan accept; reject; }}; }}"
    )
    assert len(warnings(at)) == 1
    theirs.run('add element inet mine lan { "moorage0" }')
    assert warnings(at) == []
    assert ["mg-b by rule 3" in each for each in warnings(at, BRIDGE, Forwarded("mg-b"))] == [True]


def test_firewalld_lets_published_ports_pass_and_no_more(at: Stand, theirs: Nftables) -> None:
    """Of its rules only the last concerns us, for what containers send out; an internal network sends nothing."""
    theirs.run(FIREWALLD)
    (warning,) = warnings(at)
    assert warning.startswith(
        "chain filter_FORWARD of nftables table inet firewalld rejects what containers send out of moorage0 by rule 7 "
    )
    assert warnings(at, Forwarded("moorage0", internal=True)) == []


def test_other_families(at: Stand, theirs: Nftables) -> None:
    """IPv6 alone concerns networks that have it; a bridge's own chain stops neighbours; no other hook is meant."""
    theirs.run(chain("drop", family="ip6"))
    assert len(warnings(at)) == 1
    assert warnings(at, Forwarded("moorage0")) == []
    theirs.run("delete table ip6 mine")
    theirs.run(chain(policy="drop", family="bridge"))
    (warning,) = warnings(at)
    assert "drops what neighbours send each other of moorage0 by its policy" in warning
    theirs.run("delete table bridge mine")
    theirs.run(
        "table inet mine { chain strict { type filter hook output priority 5; policy accept; drop; }; }"
    )
    assert warnings(at) == []


def test_our_own_tables_are_nobody_elses(at: Stand, theirs: Nftables) -> None:
    """A table of our name, in whatever family, is ours."""
    theirs.run(chain("drop", family="bridge").replace("mine", "moorage"))
    assert warnings(at) == []


def test_many_bridges_are_counted(at: Stand, theirs: Nftables) -> None:
    """A sentence names three."""
    theirs.run(chain("drop"))
    (warning,) = warnings(at, *[Forwarded(f"mg-{number}") for number in range(5)])
    assert "of mg-0, mg-1, mg-2 and 2 more by rule 1" in warning


def test_rules_that_change_all_the_time_are_read_later(at: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no dump is whole, whoever asked is to ask again, and nobody dies of it."""

    def interrupted(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(Netlink, "dump", interrupted)
    assert code_of(at.lab.call, "host", at.firewall.keep_forwarding, [BRIDGE]) == "unavailable"
