"""An agent that is killed and started again, and what is left of it each time."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from agents import AgentProcess, until
from agreement import assert_same
from chaos.kept import KeptKernel
from chaos.told import require
from chaos.worker import PORT_RANGE
from lab import Lab
from moorage.control.context import uptime
from moorage.control.port_mapper import host_ports, rules_of
from moorage.errors import Refused
from moorage.kernel.linux import listening, reserved
from moorage.kernel.linux.definitions import Listing
from moorage.kernel.linux.elements import signature
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.linux.marks import port_alias
from moorage.kernel.linux.masquerading import SPREADING
from moorage.kernel.protocol import Element, Maker
from moorage.model.elements import network_elements
from moorage.model.forwarding import forwarding_elements
from moorage.model.guard import guard_elements
from moorage.store.store import Store
from moorage.values import Interface, Network

T = TypeVar("T")
LAUNCHER = Path(__file__).with_name("launch.py")
OTHERS = frozenset({"lo", "eth0"})
"""Links of the host that are not the agent's."""
NUMBER = re.compile(r"\[\d+\]$")
"""Which socket or pipe it is."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Here:
    """Instead of a lab, where a process needs no namespace but this one."""

    def call(self, _name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call the function."""
        return function(*args, **kwargs)


class Victim(AgentProcess):
    """`moorage agent` under the launcher, on a real kernel in a lab, or here on one in a file."""

    def __init__(self, directory: Path, lab: Lab | None = None, **config: Any) -> None:
        """Nothing runs yet."""
        self.kept = None if lab else directory / "kernel"
        self._order = directory / "order"
        self.status: int | None = None
        self.rules: Listing | None = None
        settings = {"subnet": "10.0.42.1/24", "port_range": PORT_RANGE, "log_level": "warning"} | config
        settings["kernel"] = "linux" if lab else "memory"
        super().__init__(lab or Here(), directory, **settings)  # type: ignore[arg-type]  # has all that is used

    def start_dying(self, point: str, count: int = 1) -> bool:
        """Start with that order; whether it was killed before it was ready. Raises AssertionError as `start`."""
        self._order.write_text(f"{point} {count} kill")
        try:
            self.start()
        except AssertionError:
            if self.status != -signal.SIGKILL:
                raise
            return True
        finally:
            self._order.unlink(missing_ok=True)
        return False

    def start(self) -> Self:
        """See `AgentProcess.start`; `took` is the seconds until it was ready."""
        began = time.monotonic()
        super().start()
        self.took = time.monotonic() - began
        return self

    def order(self, point: str, count: int, how: str = "kill") -> None:
        """Have it killed when it comes there, or hang; it has heard of it when this returns."""
        self._order.write_text(f"{point} {count} {how}")
        os.kill(self.pid, signal.SIGUSR2)
        assert self._process is not None
        ended = self._process.poll
        until(lambda: not self._order.exists() or ended() is not None)

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Let it do nothing for the time of the block."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            until(self._is_stopped)
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def _is_stopped(self) -> bool:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return all((task / "stat").read_text().rpartition(") ")[2].startswith("T") for task in tasks)

    def recorded(self) -> Recorded:
        """What its journal says at this moment."""
        with self.asleep():
            return recorded(self.state)

    def dies(self, seconds: float) -> bool:
        """Whether it is dead within that time."""
        process = os.pidfd_open(self.pid)
        try:
            return bool(select.select([process], [], [], seconds)[0])
        finally:
            os.close(process)

    def _end(self, how: signal.Signals) -> int:
        self.status = super()._end(how)
        self._order.unlink(missing_ok=True)
        return self.status

    def _argv(self) -> list[str]:
        argv = super()._argv()
        inner = argv[argv.index("agent") :]
        return [sys.executable, str(LAUNCHER), str(self._order), str(self.kept or "-"), *inner]

    def descriptors(self) -> Counter[str]:
        """What files and sockets it has open: paths, and the kinds of what has none."""
        found: Counter[str] = Counter()
        for file in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found[NUMBER.sub("", str(file.readlink()))] += 1
        return found

    def threads(self) -> int:
        """How many threads it has."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))


@dataclass(frozen=True)
class Recorded:
    """What a journal says."""

    interfaces: list[Interface]
    networks: list[Network]
    reserved: frozenset[int]
    sysctls: dict[str, str]
    state: str

    def elements(self) -> frozenset[Element]:
        """What the table should hold."""
        rules = [rules_of(each) for each in self.interfaces]
        confined = forwarding_elements(self.sysctls)
        return confined.union(*rules, *map(network_elements, self.networks))

    def guarded(self) -> frozenset[Element]:
        """What the table of bridges should hold."""
        networks = {network.name: network for network in self.networks}
        return frozenset().union(*(guard_elements(each, networks[each.network]) for each in self.interfaces))

    def ports(self) -> frozenset[int]:
        """The published host ports of any protocol."""
        return frozenset().union(*(host_ports(each.ports) for each in self.interfaces))


def recorded(state: Path) -> Recorded:
    """Open a copy of the journal of an agent that does nothing at the moment.

    Raises AssertionError when it is damaged, as a copy may be that was made while the agent wrote, or its journal began
    anew.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "state"
        copy.mkdir(mode=0o700)
        try:
            for file in state.glob("moorage.db*"):
                shutil.copy(file, copy)
            store = Store.open(copy, BOOT_ID.read_text().strip(), uptime)
        except (Refused, FileNotFoundError) as damaged:
            raise AssertionError(str(damaged)) from damaged
        with closing(store):
            known = store.interfaces(), store.networks(), store.reserved(), store.sysctls(), store.id
            return Recorded(*known)


def check_kernel(victim: Victim, journal: Recorded) -> None:
    """Compare the kernel with the journal, changing nothing. Raises AssertionError."""
    if victim.kept is not None:
        _check_kept(KeptKernel(victim.kept), journal)
    else:
        victim.lab.call(victim.inside, _check_rules, victim, journal)
        _check_links(victim, journal)


def _check_kept(kernel: KeptKernel, journal: Recorded) -> None:
    assert_same("table", kernel.elements, journal.elements())
    assert_same("bridges", set(kernel.bridges), {each.bridge for each in journal.networks})
    _check_reserved(kernel.reserved, kernel.reserved_ports(), journal)


def _check_rules(victim: Victim, journal: Recorded) -> None:
    """From inside the host's namespace. The rules without their elements stay as they were at first."""
    _check_reserved(reserved.read(), reserved.read(), journal)
    firewall = LinuxFirewall(loopback="kernel")
    try:
        listing, present = firewall._look()
        guarded = firewall._guard._look()[1]
    finally:
        firewall.close()
    victim.rules = victim.rules or listing
    require(listing == victim.rules, f"the rules were {victim.rules} and are {listing}")
    lent = {element for element in present if element.container == "lent"}
    present = {element for element in present if element.container not in {"share", "agent", *SPREADING}}
    assert_same("table", present, journal.elements() | signature(journal.state))
    assert_same("guard", guarded, journal.guarded())
    taken = journal.ports().union(port for _, port in listening.read(1, 65535))
    assert_same("masquerading", {port for element in lent for port in _ports(element)} & taken, set())


def _ports(element: Element) -> range:
    first, _, last = element.key[0].partition("-")
    return range(int(first), int(last or first) + 1)


def _check_links(victim: Victim, journal: Recorded) -> None:
    networks = {each.name: each for each in journal.networks}
    gateways = {f"{each.gateway}/{each.subnet.partition('/')[2]}" for each in networks.values()}
    links = [each for each in _links(victim, victim.inside) if each["ifname"] not in OTHERS]
    bridges = [each for each in links if _kind(each) == "bridge"]
    ours = [each for each in links if _kind(each) != "bridge"]
    assert_same("bridges", {each["ifname"] for each in bridges}, bridges_of(journal))
    assert_same("gateways", _addresses(bridges), gateways)
    attached = [each for each in journal.interfaces if each.netns is not None]
    assert_same(
        "veths",
        {each.get("ifalias") for each in ours},
        {port_alias(each, Maker(journal.state)) for each in attached},
    )
    assert_same("links in containers", _inside(victim), {(each.netns, each.ifname) for each in attached})
    for each in attached:
        inside = [link for link in _links(victim, str(each.netns)) if link["ifname"] == each.ifname]
        assert_same(f"addresses of {each.id}", _addresses(inside), {f"{each.ip}/{each.prefix}"})
        require(inside[0]["address"] == each.mac, f"{each.id} has {inside[0]['address']}, not {each.mac}")
        require("UP" in inside[0]["flags"], f"{each.id} is down")


def _inside(victim: Victim) -> set[tuple[str | None, str | None]]:
    """What links there are in containers, with the path of each."""
    return {
        (victim.lab.path(name), link)
        for name in victim.lab.containers
        for _, link in victim.lab.call(name, socket.if_nameindex)
        if link != "lo"
    }


def _kind(link: dict[str, Any]) -> str | None:
    kind: str | None = link.get("linkinfo", {}).get("info_kind")
    return kind


def bridges_of(journal: Recorded) -> set[str]:
    """The names of all bridges."""
    return {each.bridge for each in journal.networks}


def _links(victim: Victim, namespace: str) -> list[dict[str, Any]]:
    """The links of a namespace of the lab, by its name there or by its path."""
    argv = ["ip", "-j", "-d", "address"]
    if "/" in namespace:
        argv[1:1] = ["-n", Path(namespace).name]
        namespace = victim.inside
    links: list[dict[str, Any]] = json.loads(victim.lab.run(namespace, argv))
    return links


def _addresses(links: Iterable[dict[str, Any]]) -> set[str]:
    found = [each for link in links for each in link["addr_info"] if each["family"] == "inet"]
    return {f"{each['local']}/{each['prefixlen']}" for each in found}


def _check_reserved(ours: Collection[int], named: Collection[int], journal: Recorded) -> None:
    """What is reserved is what is published among the ephemeral ports, and noted as ours."""
    assert_same("reserved ports", set(ours), set(journal.reserved))
    wanted = journal.ports().intersection(reserved.ephemeral())
    assert_same("ports to reserve", set(named) & wanted, wanted)
    require(journal.reserved <= wanted, f"reserved without a mapping: {sorted(journal.reserved - wanted)}")
