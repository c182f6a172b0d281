"""What the kernel holds of ours: whose it is, and networks and published ports read back out of elements. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import ip_address, ip_network

from moorage.errors import Code, Refused
from moorage.kernel.protocol import Element, Made
from moorage.model.elements import is_published, ports_of
from moorage.values import ALONE, ANY, SHARED, Mapping, Network

_ANY6 = "::"
_DEFAULT_MTU = 1500


def lost_id(made: Collection[Made], folder: str) -> str:
    """The id of the state that was in `folder`, or that made the links of all living containers; "" for none."""
    living = {each.maker.id for each in made if each.living and each.maker.id}
    here = {each.maker.id for each in made if each.maker.id and each.maker.is_of(folder)}
    for ids in (living, living & here, here if not living else ()):
        if len(ids) == 1:
            return next(iter(ids))
    return ""


def another_states(made: Collection[Made], state: str, recorded: Collection[str]) -> Refused | None:
    """The refusal where another state made the links of living containers.

    Links that say nothing are of an earlier version, and ours where any is of `recorded`, the ids that are attached.
    """
    links = [each for each in made if each.living and each.maker.id != state]
    strangers = [each for each in links if each.maker.id]
    unsigned = [each for each in links if not each.maker.id]
    if not strangers and not any(each.owner in recorded for each in unsigned):
        strangers = unsigned
    if not strangers:
        return None
    maker = strangers[0].maker
    whose = (
        f"the state {maker.id} in {maker.folder or 'a folder that is not known'}"
        if maker.id
        else "another state"
    )
    names = ", ".join(sorted(each.owner for each in strangers)[:3]) + ", …" * (len(strangers) > 3)
    return Refused(
        Code.EXISTS,
        f"the links of {len(strangers)} living container{'s' * (len(strangers) > 1)} ({names}) were made for {whose}: "
        "start with that state, or with an empty one, which takes them up",
    )


def has_newer(made: Collection[Made], state: str, attached: int) -> bool:
    """Whether this state's link of a living container was made after all that it knows of."""
    return any(each.living and each.maker.id == state and each.attached > attached for each in made)


def network_of(
    name: str, bridge: str, addresses: Collection[str], elements: Collection[Element]
) -> Network | None:
    """The network of a bridge that has `addresses` (`10.0.42.1/24`); None when neither tells its subnet.

    A gateway that the bridge does not have is taken to be the first address. The guard is told by what containers may
    send, and is the strict one where none is attached.
    """
    subnet = _subnet("net4if", bridge, addresses, elements)
    if subnet is None:
        return None
    subnet6 = _subnet("net6if", bridge, (), elements)
    return Network(
        name,
        bridge,
        subnet,
        _gateway(subnet, addresses),
        subnet6,
        subnet6 and _gateway(subnet6, addresses),
        internal=Element("internal", (bridge,)) in elements,
        mtu=_DEFAULT_MTU,
        guard=SHARED
        if any(each.container == "any4" and each.key[2] == subnet for each in elements)
        else ALONE,
    )


def mappings_of(elements: Collection[Element], ip: str, ipv6: str | None) -> tuple[Mapping, ...]:
    """The mappings that lead to a container at `ip` and `ipv6`, a port each but for ranges that keep their numbers.

    What only a proxy carries is not known, nor whether a port on every IPv4 address was meant for IPv6 as well,
    where the container has none: it is taken to be.
    """
    lead = {each for each in elements if is_published(each) and each.value[0] in {ip, ipv6}}
    return tuple(sorted(_mappings(lead, ipv6), key=lambda m: (m.proto, m.host_port, m.host_ip)))


def backends(elements: Collection[Element]) -> list[str]:
    """The IPv4 addresses that published ports lead to, in order."""
    found = {str(each.value[0]) for each in elements if is_published(each) and "4_" in each.container}
    return sorted(found, key=lambda ip: ip_address(ip).packed)


def _mappings(lead: Collection[Element], ipv6: str | None) -> Iterator[Mapping]:
    any4, any6 = ({e.key: e for e in lead if e.container.endswith(end)} for end in ("4_any", "6_any"))
    for proto, port in any4.keys() | any6.keys():
        dual = (proto, port) in any4 and (ipv6 is None or (proto, port) in any6)
        if dual:
            yield _mapping(any4[proto, port], ANY, dual=True)
        elif (proto, port) in any4:
            yield _mapping(any4[proto, port], ANY)
        else:
            yield _mapping(any6[proto, port], _ANY6)
    for each in lead:
        if each.container.endswith("_ip"):
            yield _mapping(each, str(each.key[0]))


def _mapping(element: Element, host_ip: str, *, dual: bool = False) -> Mapping:
    ports = ports_of(element)
    to = element.value[1] if len(element.value) > 1 else ports[0]
    return Mapping(str(element.key[-2]), host_ip, ports[0], int(to), len(ports), dual)


def _subnet(
    container: str, bridge: str, addresses: Collection[str], elements: Collection[Element]
) -> str | None:
    told = [str(each.key[0]) for each in elements if each.container == container and each.key[1] == bridge]
    held = [str(ip_network(each, strict=False)) for each in addresses if ":" not in each]
    return next(iter([*sorted(told), *held]), None)


def _gateway(subnet: str, addresses: Collection[str]) -> str:
    network = ip_network(subnet)
    for held in addresses:
        address = ip_address(held.partition("/")[0])
        if address.version == network.version and address in network:
            return str(address)
    return str(network.network_address + 1)
