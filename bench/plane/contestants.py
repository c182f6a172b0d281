"""Who carries the traffic: nobody, the agent, and its peers, each on a stage of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service import Service

from moorage import Client
from plane import proxies
from plane.generator import Load, LoadError
from plane.packages import Missing
from plane.place import HOST, Place, Stage
from plane.say import say

PORT = 7000
SUBNET = "10.98.0.1/16"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Contestant:
    """A way to the container's server."""

    name: str
    group: str
    """`loopback`, from the host itself, or `outside`: what may be compared."""
    client: Place
    to: tuple[str, int]
    pids: Sequence[int] = field(default=())
    """The processes that carry the bytes, where there are any."""
    udp: bool = True


@dataclass(frozen=True)
class Setting:
    """What contestants are built from."""

    load: Load
    directory: Path
    leaving: ExitStack


def direct(setting: Setting) -> Iterator[Contestant]:
    """The limit: the host itself, and a client outside, to the container's own address."""
    stage, inside = plain(setting, "direct")
    yield Contestant("direct", "loopback", stage.host, (inside, PORT))
    yield Contestant("routed", "outside", stage.outside, (inside, PORT))


def agent_kernel(setting: Setting) -> Iterator[Contestant]:
    """The agent's kernel path, over loopback and from outside."""
    stage, service = agent(setting, "kernel")
    yield Contestant("moorage-kernel", "loopback", stage.host, (LOOPBACK, PORT), (service.pid,))
    yield Contestant("moorage-outside", "outside", stage.outside, (HOST, PORT), (service.pid,))


def agent_proxy(setting: Setting) -> Iterator[Contestant]:
    """The agent's proxy."""
    stage, service = agent(setting, "proxy")
    yield Contestant("moorage-proxy", "loopback", stage.host, (LOOPBACK, PORT), (service.pid,))


def agent(setting: Setting, loopback: str) -> tuple[Stage, Service]:
    """An agent with a container whose server is published."""
    stage = setting.leaving.enter_context(Stage(f"moorage-{loopback}"))
    home = setting.directory / f"moorage-{loopback}"
    home.mkdir()
    service = Service(stage.room, home, subnet=SUBNET, loopback=loopback)
    setting.leaving.enter_context(service)
    ports = [f"{PORT}:{PORT}/{proto}" for proto in ("tcp", "udp")]
    with Client(service.socket) as client:
        client.allocate("web", netns=str(stage.container.path), ports=ports)
    setting.load.serve(stage.container, PORT)
    return stage, service


def plain(setting: Setting, name: str) -> tuple[Stage, str]:
    """A stage whose container has a server, and nothing else."""
    stage = setting.leaving.enter_context(Stage(name))
    inside = stage.bridge()
    setting.load.serve(stage.container, PORT)
    return stage, inside


def peer(name: str) -> Callable[[Setting], Iterator[Contestant]]:
    """A peer that is a proxy, listening on 127.0.0.1."""

    def build(setting: Setting) -> Iterator[Contestant]:
        stage, inside = plain(setting, name)
        home = setting.directory / name
        home.mkdir()
        proxy = proxies.PROXIES[name](stage.host, home, inside, PORT)
        await_listener(setting.load, name, stage.host)
        yield Contestant(name, "loopback", stage.host, (LOOPBACK, PORT), proxy.pids, proxy.udp)

    return build


def await_listener(load: Load, name: str, client: Place) -> None:
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


BUILDERS: dict[str, Callable[[Setting], Iterator[Contestant]]] = {
    "direct": direct,
    "moorage-kernel": agent_kernel,
    "moorage-proxy": agent_proxy,
    **{name: peer(name) for name in proxies.PROXIES},
}


@contextmanager
def assembled(names: Sequence[str], load: Load, directory: Path) -> Iterator[list[Contestant]]:
    """The contestants of these names, until the end. One that is missing is named and left out."""
    with ExitStack() as leaving:
        setting, ready = Setting(load, directory, leaving), list[Contestant]()
        for name in names:
            try:
                ready += BUILDERS[name](setting)
            except Missing as missing:
                say(str(missing))
        yield ready
