"""The commands that ask an agent: each gives answers, for programs and for people."""

from __future__ import annotations

import dataclasses
import json
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from moorage.cli import text
from moorage.cli.output import say
from moorage.cli.progress import waiting
from moorage.cli.settings import inspection
from moorage.client import Client
from moorage.model.port_spec import parse_port_spec
from moorage.printable import printable
from moorage.rpc.wire import interface_to_wire, network_to_wire, status_to_wire
from moorage.values import Interface


class Answer(NamedTuple):
    """What a command has to say: `value` for `--json`, `text` otherwise."""

    value: Any
    text: str


Command = Callable[[Client, Namespace], Iterable[Answer]]


def run(command: Command, options: Namespace) -> int:
    """Print the answers of a command as they come. Raises what the client raises."""
    with Client(options.socket) as client:
        for answer in _patiently(command(client, options), client.path):
            say(_line(answer, options))
    return 0


def allocate(client: Client, options: Namespace) -> Iterator[Answer]:
    """Give a container its place on a network."""
    interface = client.allocate(
        options.id,
        network=options.network,
        ip=options.ip,
        ipv6=options.ipv6,
        mac=options.mac,
        netns=options.netns,
        ifname=options.ifname,
        ports=_specs(options.ports),
        source=options.source,
        labels=options.labels,
        request=options.request,
    )
    yield _interface(interface)


def attach(client: Client, options: Namespace) -> Iterator[Answer]:
    """Put an interface into a namespace."""
    yield _interface(client.attach(options.id, options.netns, ifname=options.ifname, request=options.request))


def detach(client: Client, options: Namespace) -> Iterator[Answer]:
    """Take an interface out of its namespace."""
    yield _interface(client.detach(options.id, request=options.request))


def publish(client: Client, options: Namespace) -> Iterator[Answer]:
    """Publish ports."""
    specs = _specs(options.ports)
    yield _interface(client.publish(options.id, specs, source=options.source, request=options.request))


def unpublish(client: Client, options: Namespace) -> Iterator[Answer]:
    """Withdraw ports, all of them when none is named."""
    specs = _specs(options.ports) or None
    yield _interface(client.unpublish(options.id, specs, request=options.request))


def release(client: Client, options: Namespace) -> Iterator[Answer]:
    """Give back all that interfaces have, one after the other."""
    for each in options.ids:
        released = client.release(each)
        done = "released" if released else "was not there"
        yield Answer({"id": each, "released": released.released}, f"{printable(each)} {done}")


def ps(client: Client, options: Namespace) -> Iterator[Answer]:
    """List interfaces."""
    interfaces = client.list(options.network)
    yield Answer([interface_to_wire(each) for each in interfaces], text.interfaces(interfaces))


def inspect(client: Client, options: Namespace) -> Iterator[Answer]:
    """Show all of one interface."""
    interface = client.inspect(options.id)
    bridges = {each.name: each.bridge for each in client.networks()}
    value = inspection(interface, bridges.get(interface.network, ""))
    yield Answer(value, json.dumps(value, indent=2))


def networks(client: Client, _options: Namespace) -> Iterator[Answer]:
    """List networks."""
    found = client.networks()
    yield Answer([network_to_wire(each) for each in found], text.networks(found))


def create_network(client: Client, options: Namespace) -> Iterator[Answer]:
    """Make a network."""
    made = client.create_network(
        options.name,
        subnet=options.subnet,
        gateway=options.gateway,
        subnet6=options.subnet6,
        gateway6=options.gateway6,
        bridge=options.bridge,
        internal=options.internal or None,
        mtu=options.mtu,
        proxy=options.proxy,
        guard=options.guard,
        request=options.request,
    )
    yield Answer(network_to_wire(made), text.networks([made]))


def remove_network(client: Client, options: Namespace) -> Iterator[Answer]:
    """Remove a network that has no interfaces."""
    removed = client.remove_network(options.name, request=options.request)
    done = "removed" if removed else "was not there"
    yield Answer({"name": options.name, "removed": removed.removed}, f"{printable(options.name)} {done}")


def tree(client: Client, _options: Namespace) -> Iterator[Answer]:
    """Show the actors."""
    actors = client.tree()
    yield Answer([dataclasses.asdict(each) for each in actors], text.tree(actors))


def status(client: Client, _options: Namespace) -> Iterator[Answer]:
    """Show the agent in numbers."""
    value = client.status()
    yield Answer(status_to_wire(value), text.status(value))


def why(client: Client, options: Namespace) -> Iterator[Answer]:
    """Follow a published port to the container's listener."""
    steps = client.why(options.port)
    yield Answer([dataclasses.asdict(each) for each in steps], text.steps(steps))


def run_events(options: Namespace) -> int:
    """Print events, a line each, until interrupted; only that ends them well."""
    with Client(options.socket) as client, client.subscribe(options.events or None) as events:
        try:
            for event in events:
                say(_line(Answer(event, text.event(event)), options))
        except KeyboardInterrupt:
            pass
    return 0


def _patiently(answers: Iterable[Answer], path: str) -> Iterator[Answer]:
    each = iter(answers)
    while True:
        with waiting(f"moorage: waiting for the agent at {printable(path)} …"):
            answer = next(each, None)
        if answer is None:
            return
        yield answer


def _line(answer: Answer, options: Namespace) -> str:
    return json.dumps(answer.value) if options.json else answer.text


def _interface(interface: Interface) -> Answer:
    return Answer(interface_to_wire(interface), text.interfaces([interface]))


def _specs(specs: list[str]) -> list[str]:
    for spec in specs:
        parse_port_spec(spec)  # refused here too, so that a typing error needs no agent
    return specs
