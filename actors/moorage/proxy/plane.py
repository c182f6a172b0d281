"""The data plane: one thread that carries the traffic of every proxied mapping."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from moorage.errors import Code, Refused
from moorage.log import Log
from moorage.proxy.connection import Relay
from moorage.proxy.crowds import Crowds, Tell
from moorage.proxy.pipes import PipePool
from moorage.proxy.reactor import Reactor
from moorage.proxy.service import Backend, Listener, Service, backends
from moorage.proxy.shares import Shares
from moorage.proxy.switchboard import Switchboard
from moorage.proxy.tcp import Doorman, StreamListener
from moorage.proxy.udp import DatagramListener
from moorage.threads import Helper
from moorage.values import GATEWAY

if TYPE_CHECKING:
    import socket

UDP_IDLE = 90.0
"""Seconds after which a silent UDP client is forgotten: UDPConnTrackTimeout of the 2013 proxy."""
UDP_CLIENTS = 10_000
"""UDP clients at a time, each of which costs a descriptor."""
DIAL_TIMEOUT = 10.0
"""Seconds a backend has to answer a connect: time for the SYN and, after 1, 3 and 7 s, three more."""

ADVICE = "raise LimitNOFILE, or publish fewer ports or on a network without proxies"

log = Log()


class DataPlane:
    """Carries clients to backends. All methods may be called from any thread, and only `close` waits."""

    def __init__(
        self,
        *,
        udp_idle: float = UDP_IDLE,
        udp_clients: int = UDP_CLIENTS,
        dial_timeout: float = DIAL_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
        on_death: Callable[[BaseException], None] | None = None,
        on_failure: Callable[[str], None] = lambda _name: None,
        on_crowd: Tell = lambda _name, _sentence: None,
    ) -> None:
        """Times are in seconds. All that follows is called on the thread.

        `on_death` when it dies, with what it died of; `on_failure` with the name of a mapping that cannot be served
        after all; `on_crowd` with the name of one that refuses clients, and a sentence on why, which is empty when it
        does no longer.
        """
        self._reactor = Reactor(clock)
        self._shares = Shares()
        self._pipes = PipePool(self._shares)
        self._crowds = Crowds(self._reactor, on_crowd)
        self._board = Switchboard(self._reactor, self._shares, self._crowds, udp_idle, udp_clients)
        relay = Relay(self._reactor, self._shares, self._pipes, dial_timeout)
        self._doorman = Doorman(self._reactor, relay, self._crowds, self._board.relieve)
        self._services: dict[int, Service] = {}
        self._tokens = itertools.count(1)
        self._on_death = on_death or (lambda _error: None)
        self._on_failure = on_failure
        self._running = True
        self._thread = Helper("moorage-data-plane", self._run, self._die)

    @property
    def turns(self) -> int:
        """How often the thread has woken up."""
        return self._reactor.turns

    def start(self) -> None:
        """Start the thread. What was served before is carried from now on."""
        self._thread.start()

    def check_room(self, proto: str, count: int) -> None:
        """Raise Refused (limit) where there is no descriptor for so many more listeners."""
        if not self._shares.admits_listeners(count):
            text = f"{count} more {proto} ports are more than the agent has descriptors for: {ADVICE}"
            raise Refused(Code.LIMIT, text)

    def serve(
        self,
        proto: str,
        sockets: Sequence[socket.socket],
        backend_ip: str,
        backend_ports: Sequence[int],
        *,
        source: str = GATEWAY,
        name: str = "",
    ) -> int:
        """Carry clients of each of `sockets` to the backend port of the same place; the token is for `stop`.

        No sockets at all, as for SCTP on a kernel without it, carry nothing. The sockets, made by
        `open_listeners`, are the plane's from now on. `source` is "gateway": backends see this host, or for TCP
        "proxy-v2": they are told who the client is by a header of the PROXY protocol before its first byte. `name` is
        what users know the mapping by.

        Raises ValueError for what is no address or no pair, Refused: unsupported for another `source`, unavailable
        when the plane is closed or dead. Then the sockets are still the caller's.
        """
        targets = backends(proto, backend_ip, backend_ports if sockets else (), source)
        pairs = list(zip(sockets, targets, strict=True))
        token = next(self._tokens)
        if not self._reactor.post(partial(self._open, token, proto, pairs, name)):
            raise Refused(Code.UNAVAILABLE, "the data plane is not running; try again")
        self._shares.add_listeners(len(pairs))
        return token

    def stop(self, token: int) -> Future[None]:
        """Close the listeners of `token` and reset what they carry; twice changes nothing.

        All is closed when the future is done.
        """
        return self._post(partial(self._stop, token))

    def disconnect(self, token: int) -> Future[None]:
        """Reset what `token` carries, and go on listening; done when the future is."""
        return self._post(partial(self._disconnect, token))

    def yield_datagrams(self, ports: frozenset[tuple[int, int]]) -> Future[None]:
        """Forget the UDP clients, of others than the host itself, at these ports, each with its version of IP."""
        return self._post(partial(self._yield, ports))

    def retire(self) -> Future[None]:
        """Close all listeners, and forget UDP clients, which live by them; connections go on."""
        return self._post(self._retire)

    def connections(self, token: int | None = None) -> int:
        """How many connections and UDP clients `token` has at this moment, or all have."""
        services = list(self._services.values()) if token is None else [self._services.get(token)]
        return sum(len(service.members) for service in services if service)

    def close(self) -> None:
        """Stop everything and wait for the thread to end. Twice changes nothing."""
        self._reactor.post(self._halt)
        if not self._thread.ident:
            self._finish()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while self._running:
            self._reactor.turn()
        self._finish()

    def _die(self, error: BaseException) -> None:
        log.error("data_plane_died", exc_info=error)
        try:
            self._finish()
        finally:
            self._on_death(error)

    def _halt(self) -> None:
        self._running = False

    def _finish(self) -> None:
        """Close all there is; calls that are still queued are answered."""
        self._reactor.refuse()
        for token in list(self._services):
            self._close(self._services.pop(token))
        self._doorman.close()
        self._pipes.close()
        self._reactor.close()

    def _open(self, token: int, proto: str, pairs: list[tuple[socket.socket, Backend]], name: str) -> None:
        service = Service(self._shares, name)
        try:
            for sock, backend in pairs:
                service.listeners.append(self._listener(proto, service, sock, backend))
            for listener in service.listeners:
                listener.start()
        except Exception:
            log.exception("proxy_not_served", token=token, port=name)
            service.close()
            for sock, _ in pairs:
                sock.close()
            self._shares.add_listeners(-len(pairs))
            self._on_failure(name)
        else:
            self._services[token] = service

    def _listener(self, proto: str, service: Service, sock: socket.socket, backend: Backend) -> Listener:
        if proto == "udp":
            return DatagramListener(self._board, service, sock, backend)
        return StreamListener(self._doorman, service, sock, backend)

    def _stop(self, token: int) -> None:
        service = self._services.pop(token, None)
        if service is not None:
            self._close(service)

    def _close(self, service: Service) -> None:
        count = len(service.listeners)
        service.close()
        self._shares.add_listeners(-count)
        self._board.forget(service)
        self._crowds.forget(service)

    def _disconnect(self, token: int) -> None:
        service = self._services.get(token)
        if service is not None:
            service.reset()

    def _yield(self, ports: frozenset[tuple[int, int]]) -> None:
        for service in self._services.values():
            for client in service.guests.outside():
                if client.place in ports:
                    client.reset()

    def _retire(self) -> None:
        for service in self._services.values():
            service.retire()

    def _post(self, call: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        if not self._reactor.post(partial(_complete, call, done)):
            done.set_result(None)  # all that could be ended has been, or is being, with the plane itself
        return done


def _complete(call: Callable[[], None], done: Future[None]) -> None:
    try:
        call()
    except Exception as error:
        done.set_exception(error)
        raise
    done.set_result(None)
