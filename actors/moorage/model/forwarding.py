"""Whose packets a host may forward, by what its sysctls were before forwarding was switched on for us. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from moorage.kernel.protocol import Element

SWITCHES = {"ipv4": "net/ipv4/ip_forward", "ipv6": "net/ipv6/conf/all/forwarding"}
"""The sysctl that switches forwarding on, by family as nftables names it."""

_UNFORWARDED, _FORWARDERS = "unforwarded", "forwarders"
_ONE_LINK = {"ipv4": "forwarding", "ipv6": "force_forwarding"}
"""The sysctl of a link that forwards what comes in there, the switch being off; for IPv6 since Linux 6.17."""


def link_sysctls(family: str, link: str) -> list[str]:
    """The sysctls of a link that switching forwarding on and off again for all changes, or that do without it."""
    return [f"net/{family}/conf/{link}/{name}" for name in dict.fromkeys(("forwarding", _ONE_LINK[family]))]


def forwarding_elements(former: Mapping[str, str]) -> frozenset[Element]:
    """The elements that keep a host from forwarding what is neither from nor to our bridges.

    `former` has the sysctls that we changed, as they were: a family is there if the host did not forward it, and a
    link for which it did all the same.
    """
    closed = [family for family, switch in SWITCHES.items() if former.get(switch, "1") != "1"]
    return frozenset(
        [Element(_UNFORWARDED, (family,)) for family in closed]
        + [Element(_FORWARDERS, (family, link)) for family in closed for link in _open(family, former)]
    )


def former_sysctls(elements: Iterable[Element]) -> dict[str, str]:
    """What the sysctls were before, as far as these elements of a table tell."""
    former = {}
    for element in elements:
        if element.container == _UNFORWARDED:
            former[SWITCHES[str(element.key[0])]] = "0"
        elif element.container == _FORWARDERS:
            family, link = map(str, element.key)
            former[_path(family, link)] = "1"
    return former


def _open(family: str, former: Mapping[str, str]) -> list[str]:
    before, after = _path(family, "\0").split("\0")
    links = [
        path[len(before) : -len(after)] for path in former if path.startswith(before) and path.endswith(after)
    ]
    return [link for link in links if link not in {"all", "default"} and former[_path(family, link)] == "1"]


def _path(family: str, link: str) -> str:
    return f"net/{family}/conf/{link}/{_ONE_LINK[family]}"
