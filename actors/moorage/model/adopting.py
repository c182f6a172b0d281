"""What of the host's a network may be made of, and by whom. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from moorage.errors import Code, Refused
from moorage.kernel.protocol import WayOut
from moorage.model.caller import Caller
from moorage.model.public import is_public
from moorage.values import Network


def check_adopter(caller: Caller | None, bridge: str) -> None:
    """Raise Refused (denied) unless it is one whom the agent trusts that makes a network of a bridge that is there."""
    if caller is not None:
        raise Refused(
            Code.DENIED,
            f"the bridge {bridge} is there already, and uid {caller.uid} may not make a network of it: root and the "
            "agent's own user may; name a bridge that is not there, or none",
        )


def check_taker(caller: Caller | None, subnet: str) -> None:
    """Raise Refused (denied) for public addresses, unless it is one whom the agent trusts that takes them."""
    if caller is not None and is_public(subnet):
        raise Refused(
            Code.DENIED,
            f"the subnet {subnet} has addresses of the world's, and uid {caller.uid} may not take them from this host: "
            "root and the agent's own user may; name one for private use, such as 10.0.42.0/24 or fd00:42::/64",
        )


def check_maker(caller: Caller | None, name: str, bridge: str, own: str) -> None:
    """Raise Refused (denied) for the network and the bridge (`own`) that the agent makes at its start.

    Else whoever takes one of them keeps the next agent from starting.
    """
    if caller is not None and (name == "default" or bridge == own):
        raise Refused(
            Code.DENIED,
            f"the network default and its bridge {own} are the agent's own, and uid {caller.uid} may not "
            "take either: root and the agent's own user may; choose another name and bridge",
        )


def check_remover(caller: Caller | None, network: Network) -> None:
    """Raise Refused (denied) for a network that the caller could not make again."""
    if caller is None:
        return
    if network.name == "default":
        why = "is made by the agent at its start"
    elif network.adopted:
        why = f"is of the bridge {network.bridge}, which was there before"
    elif any(is_public(each) for each in (network.subnet, network.subnet6) if each):
        why = "has addresses of the world's"
    else:
        return
    raise Refused(
        Code.DENIED,
        f"the network {network.name} {why}, and uid {caller.uid} may not remove it: root and the agent's own user may",
    )


def check_bridge(bridge: str, ways: Iterable[WayOut]) -> None:
    """Raise Refused (address_in_use), naming the route, for a bridge that is the host's own way out."""
    for way in ways:
        if way.device == bridge:
            raise Refused(
                Code.ADDRESS_IN_USE,
                f"the bridge {bridge} is this host's own way out (route {way.text}), which a network would cut: name "
                "another bridge",
            )


def check_subnet(subnet: str, ways: Iterable[WayOut]) -> None:
    """Raise Refused (address_in_use), naming the route, for a subnet with a gateway of the host's in it."""
    network = ip_network(subnet)
    for way in ways:
        if (
            way.gateway
            and (gateway := ip_address(way.gateway)).version == network.version
            and gateway in network
        ):
            raise Refused(
                Code.ADDRESS_IN_USE,
                f"the subnet {subnet} has this host's own way out in it (route {way.text}), which a network would cut: "
                "choose a subnet that is free",
            )


def cut_off(networks: Iterable[Network], ways: Iterable[WayOut]) -> list[str]:
    """A sentence for each network on a bridge that was the host's own way out before, or has become it."""
    routes = {way.device: way.text for way in ways}
    return [
        f"the bridge {each.bridge} of the network {each.name} is this host's own way out "
        f"(route {routes[each.bridge]}), and answers to the host are dropped there: make the network on another "
        "bridge, or lead the route over another link"
        for each in networks
        if each.adopted and each.bridge in routes
    ]
