"""What there should be: a few dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from chaos.told import Params, Told, require
from moorage import parse_port_spec
from moorage.errors import Code
from moorage.model.interfaces import mac_of
from moorage.values import Interface

IDS = ("a", "b", "c", "d")
SPECS = ("80", "81/udp", "20001:80", "20002:81", "20001:53/udp", "127.0.0.1:20003:80", "20004-20006:90-92")
ADDRESSES = (None, None, None, "10.0.42.9", "10.0.42.10")
MACS = ("02:00:00:00:00:01", mac_of("10.0.42.9"))
SMALL = {"back": "10.0.43.0/29", "front": "10.0.44.0/29"}
"""Networks that come and go, with their subnets."""
ROOM = 5
"""Addresses that such a network gives, beside its gateway's."""

ids = st.sampled_from(IDS)
specs = st.lists(st.sampled_from(SPECS), unique=True, max_size=3).map(sorted)
places = st.sampled_from(
    [
        *({} if ip is None else {"ip": ip} for ip in ADDRESSES),
        *({"mac": mac} for mac in MACS),
        *({"network": name} for name in SMALL),
    ]
)
"""Where and as what to allocate."""
small = st.sampled_from(sorted(SMALL))


def busy_ports(interface: Interface) -> set[tuple[str, int]]:
    """Which host ports it has; two addresses never share one here."""
    return {
        (mapping.proto, port)
        for mapping in interface.ports
        for port in range(mapping.host_port, mapping.host_port + mapping.count)
    }


def asked_ports(wanted: list[str]) -> set[tuple[str, int]]:
    """Which host ports these specs name."""
    parsed = [parse_port_spec(each) for each in wanted]
    return {(s.proto, s.host_port + n) for s in parsed if s.host_port for n in range(s.count)}


@dataclass
class Model:
    """What there should be, and why a request should be refused."""

    told: Told = field(default_factory=Told)
    networks: set[str] = field(default_factory=lambda: {"default"})
    resting: set[tuple[str, str]] = field(default_factory=set)
    """Networks and addresses that were released, and shall not be given to the next who names none."""
    unsure: set[str] = field(default_factory=set)
    """Networks where more may rest: what was given back in a refusal."""

    @property
    def interfaces(self) -> dict[str, Interface]:
        """The interfaces by their ids."""
        return self.told.interfaces

    def refusal(self, method: str, params: Params) -> Code | None:
        """The code with which this has to be refused, if so."""
        if method == "create_network":
            return Code.EXISTS if params["name"] in self.networks else None
        if method == "remove_network":
            return Code.EXISTS if self._holds(params["name"]) else None
        known = self.interfaces.get(params["id"])
        if method == "allocate":
            return self._of_allocation(known, params)
        if known is None:
            return None if method == "release" else Code.NOT_FOUND
        if method == "publish":
            return self._of_ports(known, params["ports"])
        return None

    def hear(self, method: str, params: Params, answer: Any) -> None:
        """Take an answer. Raises Violation when it does not follow from what was before."""
        if method == "create_network":
            self.networks.add(answer.name)
        elif method == "remove_network":
            require(answer.removed == (params["name"] in self.networks), f"{params} gave {answer}")
            self.networks.discard(params["name"])
            self.resting = {each for each in self.resting if each[0] != params["name"]}
        else:
            self._hear_of_interface(method, params, answer)

    def hear_refusal(self, method: str, params: Params) -> None:
        """Take a refusal that was expected."""
        if method == "allocate":
            self.unsure.add(params.get("network", "default"))

    def lose(self, id: str) -> None:
        """Its container ended, and what it had is given back."""
        lost = self.interfaces.pop(id)
        self.resting.add((lost.network, lost.ip))

    def _hear_of_interface(self, method: str, params: Params, answer: Any) -> None:
        before = self.interfaces.get(params["id"])
        self.told.hear(method, params, answer)
        if method == "allocate":
            if "ip" not in params:
                self._check_rested(answer)
            self.resting.discard((answer.network, answer.ip))
        elif method == "release" and before is not None:
            self.resting.add((before.network, before.ip))

    def _check_rested(self, given: Interface) -> None:
        """It is none that rests, while another is free; a network other than the default has six addresses."""
        held = {each.ip for each in self.interfaces.values() if each.network == given.network}
        resting = {ip for network, ip in self.resting if network == given.network}
        sure = len(held | resting) < ROOM and given.network not in self.unsure
        rests = given.ip in resting and (sure or given.network == "default")
        require(not rests, f"{given.ip} was given, and should rest with {resting}")

    def _holds(self, network: str) -> bool:
        return any(each.network == network for each in self.interfaces.values())

    def _of_allocation(self, known: Interface | None, params: Params) -> Code | None:
        if known is not None:
            return Code.EXISTS
        if params.get("network", "default") not in self.networks:
            return Code.NOT_FOUND
        others = {each.ip for each in self.interfaces.values()}
        if params.get("ip") in others:
            return Code.ADDRESS_IN_USE
        return self._of_ports(None, params["ports"]) or self._of_mac(params)

    def _of_mac(self, params: Params) -> Code | None:
        """Who names neither address nor MAC is given one whose MAC is free."""
        asked = params.get("mac") or ("ip" in params and mac_of(params["ip"]))
        network = params.get("network", "default")
        held = {each.mac for each in self.interfaces.values() if each.network == network}
        return Code.ADDRESS_IN_USE if asked in held else None

    def _of_ports(self, known: Interface | None, wanted: list[str]) -> Code | None:
        held = set().union(*(busy_ports(each) for each in self.interfaces.values() if each is not known))
        return Code.PORT_IN_USE if asked_ports(wanted) & held else None
