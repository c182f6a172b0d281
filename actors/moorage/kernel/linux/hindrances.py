"""What the host's own settings keep from our traffic, in sentences: named and not changed, since somebody meant it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from moorage.kernel.linux.rtlinks import Address, Link
from moorage.kernel.linux.sysctl import read
from moorage.model.forwarding import SWITCHES

_TRACKING = "net/netfilter/nf_conntrack_"
_NEARLY = 0.95
"""How full the table of connections is when it is told: full, it loses what nobody can see any more."""


def hindrances(links: Iterable[Link], addresses: Iterable[Address], ours: Collection[str]) -> list[str]:
    """A sentence for each, of all links but `ours`."""
    addressed = {held.ifindex for held in addresses if held.local.version == 4}
    others = [
        link for link in links if link.up and link.ifindex in addressed and link.name not in {"lo", *ours}
    ]
    return [*_unforwarded(others), *_untracked()]


def _unforwarded(links: Iterable[Link]) -> Iterator[str]:
    """Of IPv4 each link has a switch of its own: the kernel drops what comes in there for somebody else."""
    if read(SWITCHES["ipv4"]) != "1":
        return
    for link in links:
        if read(f"net/ipv4/conf/{link.name}/forwarding") == "0":
            yield (
                f"net.ipv4.conf.{link.name}.forwarding is 0: what comes in by {link.name} reaches no published port, "
                "and no container, answers included; somebody set it, and 1 lets it pass"
            )


def _untracked() -> Iterator[str]:
    count, most = (int(read(f"{_TRACKING}{name}") or 0) for name in ("count", "max"))
    if most and count >= _NEARLY * most:
        yield (
            f"connection tracking has room for {most} connections, and more than {_NEARLY:.0%} of it is taken: new "
            "connections are lost when it is full; net.netfilter.nf_conntrack_max makes room for more"
        )
