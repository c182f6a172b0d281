"""The arguments of every command."""

from __future__ import annotations

import argparse
from argparse import SUPPRESS, ArgumentError, ArgumentParser, Namespace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from moorage.cli import commands, local
from moorage.printable import printable
from moorage.version import VERSION

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[ArgumentParser]

SPEC = "[[host_ip:][host_port]:]container_port[/proto]"

_SOCKET = "the agent's socket"
_JSON = "print JSON, a line each"
_NETNS = "a path, a name under /run/netns, or pid:N"
_WANTED = {
    "network": "the network it is on (default: default)",
    "ip": "this IPv4 address, not a free one",
    "ipv6": "this IPv6 address, not a free one",
    "mac": "this MAC address, not one made of the IPv4 address",
    "netns": f"attach it there too: {_NETNS}",
    "ifname": "the link's name in there",
}

_OF_NETWORKS = {
    "subnet": "its IPv4 subnet; 10.0.42.1/24 also names the gateway (default: one that is free)",
    "gateway": "the host's address on it (default: the first of the subnet)",
    "subnet6": "its IPv6 subnet, such as fd00:42::/64 (default: none)",
    "gateway6": "the host's IPv6 address on it (default: the first of the subnet)",
    "bridge": "the name of its bridge, which is adopted if it is there (default: one made of the name)",
}


class Parser(ArgumentParser):
    """One whose complaints quote what was typed, and do not obey it."""

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser.error."""
        super().error(printable(message))


def make_parser() -> ArgumentParser:
    """Return the parser; what it parses has `run`, a function of the options that gives an exit code."""
    parser: ArgumentParser = Parser(
        prog="moorage", description="Addresses and published ports for containers.", allow_abbrev=False
    )
    parser.add_argument("--socket", metavar="PATH", help=_SOCKET)
    parser.add_argument("--json", action="store_true", help=_JSON)
    parser.add_argument("--version", action="version", version=f"moorage {VERSION}", help="print the version")
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_local(group)
    _add_changes(group)
    _add_networks(group)
    _add_questions(group)
    return parser


def _add_local(group: Commands) -> None:
    agent = _add(group, "agent", "run the service in the foreground", local.agent)
    agent.set_defaults(misused=agent.error)
    agent.add_argument("--config", metavar="FILE", help="a TOML file; the flags here go before it")
    agent.add_argument("--socket", metavar="PATH", default=SUPPRESS, help="where clients connect")
    agent.add_argument("--state", metavar="DIR", help="where the journal is kept")
    agent.add_argument("--bridge", help="the bridge of the default network")
    agent.add_argument("--subnet", help="the subnet of the default network, such as 172.16.42.1/24")
    agent.add_argument(
        "--kernel", help="linux, or memory, which needs no privilege and carries nothing itself"
    )
    agent.add_argument("--chaos", action="store_true", default=None, help="let clients crash actors")
    instead = agent.add_mutually_exclusive_group()
    instead.add_argument("--down", action="store_true", help="remove all that the agent of these flags made")
    instead.add_argument(
        "--replace", action="store_true", help="take over from the agent that runs on the same state, if any"
    )
    demo = _add(group, "demo", "show the main job on real sockets", local.demo)
    demo.add_argument("arguments", nargs=argparse.REMAINDER, help=SUPPRESS)
    _add_json(_add(group, "version", "print the version", local.version))


def _add_changes(group: Commands) -> None:
    allocate = _ask(group, "allocate", "give a container an address and ports", commands.allocate)
    allocate.add_argument("id", nargs="?", help="the interface's id; the agent makes one when there is none")
    allocate.add_argument(
        "-p", "--publish", dest="ports", metavar="SPEC", action="append", default=[], help=SPEC
    )
    for name, text in _WANTED.items():
        allocate.add_argument(f"--{name}", help=text)
    allocate.add_argument(
        "--label",
        dest="labels",
        metavar="KEY=VALUE",
        action=_Label,
        help="a string to keep with it; repeatable",
    )
    attach = _ask(group, "attach", "put an interface into a namespace", commands.attach)
    attach.add_argument("id")
    attach.add_argument("netns", help=_NETNS)
    attach.add_argument("--ifname", help=_WANTED["ifname"])
    detach = _ask(group, "detach", "take an interface out of its namespace", commands.detach)
    detach.add_argument("id")
    publish = _ask(group, "publish", "publish ports on the host", commands.publish)
    publish.add_argument("id")
    publish.add_argument("ports", metavar="SPEC", nargs="+", help=SPEC)
    unpublish = _ask(group, "unpublish", "withdraw published ports", commands.unpublish)
    unpublish.add_argument("id")
    unpublish.add_argument(
        "ports", metavar="SPEC", nargs="*", default=[], help="all of them when none is named"
    )
    release = _ask(group, "release", "give back all that interfaces have", commands.release)
    release.add_argument("ids", metavar="ID", nargs="+")
    for each in (allocate, publish):
        each.add_argument("--source", help="whom the container sees: gateway (the default) or proxy-v2")
    for each in (allocate, attach, detach, publish, unpublish):
        _add_request(each)


def _add_networks(group: Commands) -> None:
    networks = _ask(group, "networks", "list, create or remove networks", commands.networks)
    actions = networks.add_subparsers(metavar="ACTION")
    create = _ask(actions, "create", "make a network", commands.create_network)
    create.add_argument("name")
    for name, text in _OF_NETWORKS.items():
        create.add_argument(f"--{name}", help=text)
    create.add_argument("--internal", action="store_true", help="with no way out")
    create.add_argument(
        "--mtu", type=int, help="bytes of the largest packet (default: that of the link that leads out)"
    )
    create.add_argument("--proxy", help="always (the default), or never: no listeners, the kernel alone")
    create.add_argument(
        "--guard",
        help="what containers send with: interface (the default), their own addresses alone; or network, any",
    )
    remove = _ask(actions, "rm", "remove a network that has no interfaces", commands.remove_network)
    remove.add_argument("name")
    for each in (create, remove):
        _add_request(each)


def _add_questions(group: Commands) -> None:
    _ask(group, "ps", "list interfaces", commands.ps).add_argument("--network", help="of this network only")
    _ask(group, "inspect", "show all of one interface", commands.inspect).add_argument("id")
    _ask(group, "tree", "show the actors", commands.tree)
    _ask(group, "status", "show the agent in numbers", commands.status)
    why = _ask(group, "why", "follow a port to the container's listener", commands.why)
    why.add_argument("port", help="such as 8080/tcp")
    events = _add(group, "events", "print what happens until interrupted", commands.run_events)
    _add_client(events)
    events.add_argument("events", metavar="EVENT", nargs="*", help="all of them when none is named")


def _add(group: Commands, name: str, text: str, run: Any) -> ArgumentParser:
    parser = group.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _ask(group: Commands, name: str, text: str, command: commands.Command) -> ArgumentParser:
    parser = _add(group, name, text, partial(commands.run, command))
    _add_client(parser)
    return parser


def _add_client(parser: ArgumentParser) -> None:
    parser.add_argument("--socket", metavar="PATH", default=SUPPRESS, help=_SOCKET)
    _add_json(parser)


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", default=SUPPRESS, help=_JSON)


def _add_request(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--request", metavar="STRING", help="your own unique string: a repeat takes nothing twice"
    )


class _Label(argparse.Action):
    """Gathers labels into a dict."""

    def __call__(
        self, _parser: ArgumentParser, options: Namespace, text: Any, _flag: str | None = None
    ) -> None:
        key, sign, value = text.partition("=")
        labels = getattr(options, self.dest) or {}
        if not sign:
            raise ArgumentError(self, f"{text!r} is not KEY=VALUE")
        if key in labels:
            raise ArgumentError(self, f"the label {key!r} is given twice")
        setattr(options, self.dest, {**labels, key: value})
