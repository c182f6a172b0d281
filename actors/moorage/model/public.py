"""Which subnets have addresses that are reached from everywhere, by IANA's registries of special-purpose addresses."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

_Network = IPv4Network | IPv6Network

_NOT_GLOBAL: tuple[_Network, ...] = tuple(
    map(
        ip_network,
        (
            # iana-ipv4-special-registry, "Globally Reachable" false; 240.0.0.0/4 has 255.255.255.255 in it
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
            *("203.0.113.0/24", "240.0.0.0/4"),
            # iana-ipv6-special-registry
            *("::/127", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23"),
            *("2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10"),
        ),
    )
)
_GLOBAL: tuple[_Network, ...] = tuple(
    map(
        ip_network,
        (
            *("192.0.0.9/32", "192.0.0.10/32"),
            *("2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:3::/32", "2001:4:112::/48"),
            *("2001:20::/28", "2001:30::/28"),
        ),
    )
)
"""Parts of these that are reached from everywhere all the same."""


def is_public(subnet: str) -> bool:
    """Whether it has an address that may be reached from everywhere, or that nobody was given yet."""
    network = ip_network(subnet, strict=False)
    kept = any(_is_within(network, block) for block in _NOT_GLOBAL)
    return not kept or any(network.overlaps(part) for part in _GLOBAL)


def _is_within(network: _Network, block: _Network) -> bool:
    return network.version == block.version and block.supernet_of(network)  # type: ignore[arg-type]
