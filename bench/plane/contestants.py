"""Who carries the traffic: nobody, the agent, and its peers, each on a stage of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generations import NEWER, generation
from service import Service

from moorage import Client
from plane import proxies, rules
from plane.cases import Case
from plane.cgroup import own_cgroup
from plane.generator import Load, LoadError
from plane.packages import Missing
from plane.place import GATEWAY, HOST, INSIDE, PREFIX, Place, Stage
from plane.rules import Run
from plane.say import say

PORT = 7000
SUBNET = "10.98.0.1/16"
LOOPBACK = "127.0.0.1"
NETAVARKS = ("netavark", NEWER.named("netavark"))
FEW = rules.runs(PORT, 2)
"""The measured ports and no others."""


@dataclass(frozen=True)
class Contestant:
    """A way to the container's server."""

    name: str
    group: str
    """`loopback`, from the host itself, or `outside`: what may be compared."""
    client: Place
    to: tuple[str, int]
    pids: Sequence[int] = field(default=())
    """The processes that carry the bytes, or wrote the rules, where there are any."""
    udp: bool = True
    most: int = proxies.CONNECTIONS
    """Connections at a time."""

    def takes(self, case: Case) -> bool:
        """Whether it can do this."""
        if case.mode == "idle" and not self.pids:
            return False
        return (
            case.group in {"all", self.group} and (self.udp or not case.udp) and case.connections <= self.most
        )


@dataclass(frozen=True)
class Setting:
    """What contestants are built from, and what ends them."""

    load: Load
    directory: Path
    leaving: ExitStack

    def stage(self, name: str) -> Stage:
        """A stage whose container is not connected yet."""
        return self.leaving.enter_context(Stage(name))

    def home(self, stage: Stage) -> Path:
        """A directory for the files of whoever is on it."""
        home = self.directory / stage.container_name
        home.mkdir()
        return home

    def plain(self, name: str) -> Stage:
        """A stage whose container has the server and is connected by a bridge, and nothing else."""
        stage = self.stage(name)
        stage.bridge()
        self.load.serve(stage.container, PORT)
        return stage

    def agent(self, published: Sequence[Run], **config: Any) -> tuple[Stage, Service]:
        """A stage with an agent that has published these ports of the container with the server."""
        stage = self.stage("moorage")
        service = Service(stage.room, self.home(stage), subnet=SUBNET, **config)
        self.leaving.enter_context(service)
        with Client(service.socket) as client:
            client.allocate("web", netns=str(stage.container.path), ports=[run.spec for run in published])
        self.load.serve(stage.container, PORT)
        return stage, service


Builder = Callable[[Setting], Iterator[Contestant]]


def direct(setting: Setting) -> Iterator[Contestant]:
    """The limit: the host itself, and a client outside, to the container's own address."""
    stage = setting.plain("direct")
    yield Contestant("direct", "loopback", stage.host, (INSIDE, PORT))
    yield Contestant("routed", "outside", stage.outside, (INSIDE, PORT))


def agent_kernel(setting: Setting) -> Iterator[Contestant]:
    """The agent's kernel path, over loopback and from outside."""
    stage, service = setting.agent(FEW)
    yield Contestant("moorage-kernel", "loopback", stage.host, (LOOPBACK, PORT), (service.pid,))
    yield Contestant("moorage-outside", "outside", stage.outside, (HOST, PORT), (service.pid,))


def agent_connect(setting: Setting) -> Iterator[Contestant]:
    """The agent that leads sockets on loopback to the container as they connect."""
    setting.leaving.enter_context(own_cgroup())
    stage, service = setting.agent(FEW, loopback="connect")
    # datagrams go by rules, as without it
    yield Contestant("moorage-connect", "loopback", stage.host, (LOOPBACK, PORT), (service.pid,), udp=False)


def agent_proxy(setting: Setting) -> Iterator[Contestant]:
    """The agent's proxy."""
    stage, service = setting.agent(FEW, loopback="proxy")
    yield Contestant("moorage-proxy", "loopback", stage.host, (LOOPBACK, PORT), (service.pid,))


def agent_memory(setting: Setting) -> Iterator[Contestant]:
    """The agent's proxy on a host without rules, as the peers that are proxies have it."""
    stage = setting.plain("memory")
    service = Service(stage.room, setting.home(stage), kernel="memory", subnet=f"{GATEWAY}/{PREFIX}")
    setting.leaving.enter_context(service)
    with Client(service.socket) as client:
        client.allocate("web", ip=INSIDE, ports=[run.spec for run in FEW])
    yield Contestant("moorage-memory", "loopback", stage.host, (LOOPBACK, PORT), (service.pid,))


def proxy(name: str) -> Builder:
    """A peer that is a proxy, listening on 127.0.0.1."""

    def build(setting: Setting) -> Iterator[Contestant]:
        stage = setting.plain(name)
        running = proxies.PROXIES[name](stage.host, setting.home(stage), INSIDE, PORT)
        _await_listener(setting.load, name, stage.host)
        yield Contestant(
            name, "loopback", stage.host, (LOOPBACK, PORT), running.pids, running.udp, running.most
        )

    return build


def ruled(name: str, published: Sequence[Run], called: str) -> Builder:
    """A peer that publishes these ports by rules."""

    def build(setting: Setting) -> Iterator[Contestant]:
        if name.startswith("netavark"):
            stage = setting.stage(name)
            rules.netavark(stage, setting.home(stage), published, generation(name))
            setting.load.serve(stage.container, PORT)
        else:
            stage = setting.plain(name)
            rules.iptables(stage, published)
        yield Contestant(called, "outside", stage.outside, (HOST, PORT))

    return build


def filled(published: int) -> Builder:
    """An agent without listeners that has published so many ports, each an element of its own."""

    def build(setting: Setting) -> Iterator[Contestant]:
        stage, _ = setting.agent(rules.runs(PORT, published), proxy="never")
        yield Contestant(f"moorage, {published:,}", "outside", stage.outside, (HOST, PORT))

    return build


def crowded(level: int) -> dict[str, Builder]:
    """Those with so many ports published, by name. netavark takes a second for 40, so it stops early."""
    published = rules.runs(PORT, level)
    peers = ["iptables", *(NETAVARKS if level <= 1_000 else [])]
    return {"moorage-kernel": filled(level)} | {
        name: ruled(name, published, f"{name}, {level:,}") for name in peers
    }


BUILDERS: dict[str, Builder] = {
    "direct": direct,
    "moorage-kernel": agent_kernel,
    "moorage-connect": agent_connect,
    "moorage-proxy": agent_proxy,
    "moorage-memory": agent_memory,
    **{name: proxy(name) for name in proxies.PROXIES},
    **{name: ruled(name, FEW, name) for name in ("iptables", *NETAVARKS)},
}


def assembled(builders: Sequence[Builder], setting: Setting) -> list[Contestant]:
    """The contestants that these build. One that is missing is named and left out."""
    ready: list[Contestant] = []
    for build in builders:
        try:
            ready += build(setting)
        except Missing as missing:
            say(str(missing))
    return ready


def _await_listener(load: Load, name: str, client: Place) -> None:
    """Wait until a program that does not tell answers. Raises Missing when it does not."""
    for _ in range(100):
        try:
            load.run(client, ["echo", LOOPBACK, str(PORT), "1", "1"], 0)
        except LoadError as error:
            said = error
            time.sleep(0.05)
        else:
            return
    raise Missing(f"{name} is left out: it does not answer: {said}")
