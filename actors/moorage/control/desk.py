"""The desk: every method of the contract, from checked parameters to an answer in wire values."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from moorage.control import operation as messages
from moorage.control.context import ASKING, Context
from moorage.control.gone import Collector
from moorage.control.interfaces import interface_child
from moorage.control.journal import Count, GetInterfaces, GetNetwork, GetNetworks, Open, Opened
from moorage.control.links import Collect
from moorage.control.networks import Networks
from moorage.control.ports import check_amount, parse_all
from moorage.control.requests import key_of
from moorage.descriptors import check_left
from moorage.errors import Code, Fault, MoorageError, Refused
from moorage.model.caller import Caller
from moorage.rpc.answers import Series
from moorage.rpc.schema import CHANGING, check
from moorage.rpc.wire import network_to_wire, status_to_wire
from moorage.store.operations import TRUSTED, RequestKey
from moorage.supervision.directory import Address, Entry
from moorage.supervision.messages import Crash, Start
from moorage.values import GATEWAY, ActorInfo, Hello, Network, Status
from moorage.version import VERSION

API = 1

PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between tries of what was answered `unavailable`: nothing was done, and a restart takes milliseconds."""

Params = Mapping[str, Any]

_SECRET = secrets.token_bytes(32)
"""Of this process: what ids that nobody asked for follow from, beside the request."""


class Desk:
    """Takes requests to the actors they concern. Its coroutines run on the loop, and hold no state between them."""

    def __init__(self, context: Context, address: Callable[[str], Address]) -> None:
        """`address` finds an actor."""
        self._context = context
        self._address = address
        self._networks = Networks(context, address)
        self._collector = Collector(address, self._ask_interface)
        self._patient = True
        self._methods: dict[str, Callable[[Params], Awaitable[Any]]] = {
            "hello": self._hello,
            "allocate": self._allocate,
            "attach": self._attach,
            "detach": self._detach,
            "publish": self._publish,
            "unpublish": self._unpublish,
            "release": self._release,
            "inspect": self._inspect,
            "list": self._list,
            "create_network": self._networks.create,
            "remove_network": self._networks.remove,
            "networks": self._list_networks,
            "tree": self._tree,
            "status": self._status,
            "why": self._why,
            "crash": self._crash,
        }

    async def call(self, method: str, params: list[Any], caller: Caller | None = None) -> Any:
        """Answer one request, of `caller` (None: of whom the agent trusts). Raises Refused, or Fault.

        For a task of its own, which `ASKING` is set in.
        """
        ASKING.set(caller)
        checked = check(method, params)
        if method in CHANGING:
            check_left()  # before anything is done that could not be done to its end
        handler = self._methods[method]
        return await self._unless_gone(lambda: self._patiently(handler, checked))

    async def _unless_gone(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do it, and once more whenever it is refused for what an interface holds whose container has ended."""
        while True:
            try:
                return await work()
            except Refused as refusal:
                if not await self._collector.collect(refusal.holders):
                    raise

    async def _patiently(self, handler: Callable[[Params], Awaitable[Any]], checked: Params) -> Any:
        for pause in PAUSES:
            try:
                return await handler(checked)
            except Refused as refusal:
                if refusal.code is not Code.UNAVAILABLE or not self._patient:
                    raise
            await asyncio.sleep(pause)
        return await handler(checked)

    def close(self) -> None:
        """Let nobody wait any more for what will not come back."""
        self._patient = False

    async def ensure_default(self) -> None:
        """Make the default network, if the configuration wants it."""
        ASKING.set(None)
        await self._unless_gone(self._networks.ensure_default)

    # -- interfaces

    async def _allocate(self, params: Params) -> Any:
        source = params.get("source", GATEWAY)
        specs = tuple(await parse_all(params.get("ports", ()), source))
        check_amount(specs, ASKING.get())
        rest = {name: params.get(name) for name in ("ip", "ipv6", "mac", "netns", "ifname", "labels")}
        network = params.get("network", "default")
        key = key_of("allocate", params)
        message = messages.Allocate(network, ports=specs, source=source, key=key, caller=ASKING.get(), **rest)
        return await self._ask_interface(params.get("id") or _new_id(key), message)

    async def _attach(self, params: Params) -> Any:
        message = messages.Attach(
            params["netns"], params.get("ifname"), key_of("attach", params), ASKING.get()
        )
        return await self._ask_interface(params["id"], message)

    async def _detach(self, params: Params) -> Any:
        return await self._ask_interface(params["id"], messages.Detach(key_of("detach", params)))

    async def _publish(self, params: Params) -> Any:
        source = params.get("source", GATEWAY)
        specs = tuple(await parse_all(params["ports"], source))
        check_amount(specs, ASKING.get())
        message = messages.Publish(specs, source, key_of("publish", params), ASKING.get())
        return await self._ask_interface(params["id"], message)

    async def _unpublish(self, params: Params) -> Any:
        specs = tuple(await parse_all(params["ports"])) if "ports" in params else None
        return await self._ask_interface(params["id"], messages.Unpublish(specs, key_of("unpublish", params)))

    async def _release(self, params: Params) -> Any:
        return await self._ask_interface(params["id"], messages.Release(key_of("release", params)))

    async def _ask_interface(self, interface_id: str, message: messages.Operation | Collect) -> Any:
        name = f"interface:{interface_id}"
        if self._context.directory.find(name) is None:
            start = Start(interface_child(self._context, interface_id), message)
            return await self._address("interfaces").ask(start)
        return await self._address(name).ask(message)

    async def _inspect(self, params: Params) -> Any:
        opened: Opened = await self._address("journal").ask(Open(params["id"]))
        if opened.interface is None:
            raise Refused(Code.NOT_FOUND, f"there is no interface {params['id']}")
        return opened.interface

    async def _list(self, params: Params) -> Any:
        name: str | None = params.get("network")
        journal = self._address("journal")
        if name is not None and await journal.ask(GetNetwork(name)) is None:
            raise Refused(Code.NOT_FOUND, f"there is no network {name}")
        return Series(await journal.ask(GetInterfaces(name)))

    # -- the agent itself

    async def _list_networks(self, _params: Params) -> Any:
        networks: list[Network] = await self._address("journal").ask(GetNetworks())
        return Series(networks, network_to_wire)

    async def _hello(self, _params: Params) -> Any:
        return asdict(Hello("moorage", VERSION, API, os.getpid(), self._context.started))

    async def _tree(self, _params: Params) -> Any:
        return Series(self._context.directory.entries(), _actor_to_wire)

    async def _status(self, _params: Params) -> Any:
        context = self._context
        networks, interfaces, mappings = await self._address("journal").ask(Count())
        status = Status(
            networks=networks,
            interfaces=interfaces,
            mappings=mappings,
            proxies=sum(entry.name.startswith("proxy:") for entry in context.directory.entries()),
            kernel=context.config.kernel,
            restarts=context.directory.restarts,
            repaired=context.repaired.count,
            started=context.started,
            warnings=context.warnings.current(),
        )
        return status_to_wire(status)

    async def _why(self, _params: Params) -> Any:
        raise Refused(Code.UNSUPPORTED, "why is not there yet: this version cannot follow a port")

    async def _crash(self, params: Params) -> None:
        name = params["actor"]
        if not self._context.config.chaos:
            raise Refused(Code.DENIED, f"crash {name!r:.80}: the configuration does not say chaos = true")
        if self._context.directory.find(name) is None:
            raise Refused(Code.NOT_FOUND, f"there is no actor {name!r:.80}: see tree")
        Address(self._context.directory, name).tell(Crash())


async def answer(
    desk: Desk, method: str, params: list[Any], caller: Caller | None = None
) -> tuple[Any, MoorageError | None]:
    """One request's result, as `moorage.rpc.answers` has it, or its error; a bug of ours is a Fault like any other."""
    try:
        return await desk.call(method, params, caller), None
    except MoorageError as error:
        return None, error
    except Exception as bug:  # noqa: BLE001 - the client is told, and the next request is served
        return None, Fault(f"{type(bug).__name__}: {bug}")


def _actor_to_wire(entry: Entry) -> dict[str, Any]:
    e = entry
    return asdict(ActorInfo(e.name, e.parent, e.kind, e.state, e.restarts, e.mailbox, e.since))


def _new_id(key: RequestKey | None) -> str:
    """An id nobody asked for: the same one when a request is repeated, so that one actor sees both.

    No other client can know it before, and take it. In another life of the process it is another one: what was done
    for the request is found by its string, and what was not has no id yet.
    """
    if key is None:
        return f"i{secrets.token_hex(8)}"
    whose = b"" if key.uid == TRUSTED else key.uid.to_bytes(4, "big")
    return f"i{hashlib.blake2b(key.request.encode(), digest_size=8, key=_SECRET, salt=whose).hexdigest()}"
