"""A laboratory of network namespaces: a host, the world outside it, and containers.

    outside 10.77.0.2, fd77::2  --eth0--  10.77.0.1, fd77::1 host  (the agent's)   container, container, …

Every lab has namespaces of its own under `/run/netns`; the pytest process stays where it is. `outside` routes
all private ranges through the host, so that reaching a container past its published ports can be tried.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from echo_server import EVERY, Answer, EchoServer, ask
from moorage.kernel.linux import netns as namespaces

HOST, OUTSIDE = "10.77.0.1", "10.77.0.2"
HOST6, OUTSIDE6 = "fd77::1", "fd77::2"
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")

NAMED = "/run/netns"
"""Where iproute2 keeps names of namespaces: mounts that are shared, so that one that is removed goes everywhere."""
CLONE_NEWNET = 0x40000000  # linux/sched.h
MS_BIND, MS_REC, MS_SHARED = 1 << 12, 1 << 14, 1 << 20  # linux/mount.h
MNT_DETACH = 2  # sys/mount.h
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h
NAMESPACES = 1000
"""How many are made to get at an inode."""

libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")
Socket = socket.socket  # `Lab.socket` hides the module in annotations
Address = tuple[str, int] | tuple[str, int, int, int]
"""Where to connect to. A link-local address needs the longer: with the flow, and the link as the client counts it."""
_serial = count(1)


class Lab:
    """The namespaces `host`, `outside` and those of `container`; all others names are refused with KeyError.

    A context manager: on the way out programs are ended by pid, servers stopped, namespaces removed.
    """

    def __init__(self) -> None:
        self._prefix = f"lab{os.getpid()}-{next(_serial)}"
        self._namespaces: dict[str, str] = {}
        self._kept: dict[str, list[tuple[Hashable, Socket]]] = {}
        self._exit = ExitStack()
        self._exit.callback(self._remove_all)

    def __enter__(self) -> Self:
        try:
            for name in ("host", "outside"):
                self._create(name)
            self._wire()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def container(self, name: str) -> str:
        """Make an empty namespace, called `name` in all other methods; returns its path, for `attach`."""
        return self._create(name)

    def remove(self, name: str) -> None:
        """Remove a namespace's name, as a runtime does when its container has ended."""
        path = self._namespaces.pop(name)
        for _, made in self._kept.pop(name, ()):
            made.close()
        _do(libc.umount2, path.encode(), MNT_DETACH)
        os.unlink(path)  # noqa: PTH108 - text

    def take_place(self, name: str) -> bool:
        """Remove a namespace, and put another one at its path that has its inode; tells whether one came to have it.

        The kernel gives the lowest inode that is free, to whoever asks first, as soon as the former is cleaned up.
        """
        path = self._namespaces[name]
        inode = Path(path).stat().st_ino
        self.remove(name)
        with ThreadPoolExecutor(1) as thread:  # it stays in the last one that it made
            if not thread.submit(_take, inode, path).result():
                return False
        self._namespaces[name] = path
        return True

    @property
    def containers(self) -> list[str]:
        """The names of all containers."""
        return [name for name in self._namespaces if name not in {"host", "outside"}]

    def path(self, name: str) -> str:
        """The path of a namespace: `/run/netns/…`."""
        return self._namespaces[name]

    def call(self, name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `function` in a thread inside the namespace, and return or raise what it does.

        Sockets made and programs started there belong to that namespace for good.
        """
        outcome: list[tuple[bool, Any]] = []
        path = self._namespaces[name]

        def run() -> None:
            try:
                with namespaces.opened(path) as fd:
                    namespaces.setns(fd)
                outcome.append((True, function(*args, **kwargs)))
            except BaseException as error:  # noqa: BLE001 - raised again by the caller
                outcome.append((False, error))

        thread = threading.Thread(target=run, name=f"lab {name}")
        thread.start()
        thread.join()
        done, value = outcome.pop()
        if not done:
            raise value
        return value  # type: ignore[no-any-return]  # the list holds a T or an exception

    def run(self, name: str, argv: Sequence[str], **kwargs: Any) -> str:
        """Run a program to its end and return what it wrote; raises CalledProcessError."""
        kwargs = {"check": True, "capture_output": True, "text": True, "timeout": 30} | kwargs
        done: subprocess.CompletedProcess[str] = self.call(name, subprocess.run, argv, **kwargs)
        return done.stdout

    def popen(self, name: str, argv: Sequence[str], **kwargs: Any) -> subprocess.Popen[Any]:
        """Start a program, which is ended with the lab if it has not ended before."""
        process: subprocess.Popen[Any] = self.call(name, subprocess.Popen, argv, **kwargs)
        self._exit.callback(end, process)
        return process

    def socket(self, name: str, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> Socket:
        """A socket of that namespace, with a deadline of 5 s, closed with the lab."""
        made = self.call(name, socket.socket, family, kind)
        made.settimeout(5)
        self._exit.callback(made.close)
        return made

    def keep(self, name: str, what: Hashable, made: Socket) -> None:
        """Keep a socket of that namespace for the next who wants `what`, until the namespace is removed."""
        self._kept.setdefault(name, []).append((what, made))

    def kept(self, name: str, what: Hashable) -> Socket | None:
        """Take such a socket, which is the caller's alone until he keeps it again."""
        held = self._kept.get(name, [])
        for index, (each, made) in enumerate(held):
            if each == what:
                del held[index]
                return made
        return None

    def open(self, name: str, to: Address, proto: str = "tcp", timeout: float = 5) -> Socket:
        """A connected socket of that namespace; raises OSError as connect does."""
        family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
        kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
        made = self.socket(name, family, kind)
        made.settimeout(timeout)
        try:
            made.connect(to)
        except OSError:
            made.close()
            raise
        return made

    def connect(
        self, name: str, to: Address, proto: str = "tcp", timeout: float = 5, payload: bytes = b"hello"
    ) -> Answer:
        """Ask the echo server at `to` from that namespace; raises OSError when it is refused or silent."""
        with self.open(name, to, proto, timeout) as made:
            return ask(made, payload)

    def can_reach(self, name: str, to: Address, proto: str = "tcp", timeout: float = 1) -> bool:
        """Whether an echo server answers there; takes `timeout` seconds where packets are dropped."""
        try:
            self.connect(name, to, proto, timeout)
        except OSError:
            return False
        return True

    def echo_server(self, name: str, proto: str, port: int, addresses: Sequence[str] = EVERY) -> EchoServer:
        """Serve `port` on these addresses of the namespace, until closed or the lab's end."""
        server = self.call(name, EchoServer, name, proto, port, addresses)
        self._exit.callback(server.close)
        return server

    def _create(self, name: str) -> str:
        path = f"{NAMED}/{self._prefix}-{name}"
        with ThreadPoolExecutor(1) as thread:  # it stays in the namespace
            thread.submit(_make, path).result()
        self._namespaces[name] = path
        return path

    def _remove_all(self) -> None:
        for name in list(self._namespaces):
            self.remove(name)

    def _wire(self) -> None:
        self._batch(
            "host",
            f"link add eth0 type veth peer name eth0 netns {self._prefix}-outside",
        )
        for name in ("host", "outside"):
            # addresses are usable at once: what is under test is the agent's wait, not ours
            self.call(name, _write, "/proc/sys/net/ipv6/conf/eth0/accept_dad", "0")
        self._batch("host", *_addressed(HOST, HOST6), *_routed(("default", "::/0"), OUTSIDE, OUTSIDE6))
        self._batch("outside", *_addressed(OUTSIDE, OUTSIDE6), *_routed(PRIVATE, HOST, HOST6))

    def _batch(self, name: str, *lines: str) -> None:
        self.run(name, ["ip", "-batch", "-"], input="\n".join(lines))


def _make(path: str) -> None:
    """As `ip netns add` and `ip link set lo up` would, of which the tests do thousands."""
    os.makedirs(NAMED, mode=0o755, exist_ok=True)  # noqa: PTH103 - text
    shared = (libc.mount, None, NAMED.encode(), None, MS_SHARED | MS_REC, None)
    try:
        _do(*shared)
    except OSError:  # it is no mount yet
        _do(libc.mount, NAMED.encode(), NAMED.encode(), None, MS_BIND | MS_REC, None)
        _do(*shared)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0))
    _do(libc.unshare, CLONE_NEWNET)
    _do(libc.mount, b"/proc/thread-self/ns/net", path.encode(), None, MS_BIND, None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        fcntl.ioctl(made, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _do(call: Callable[..., int], *arguments: object) -> None:
    """Call the C library; raises OSError."""
    if call(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(arguments))


def _addressed(ip: str, ipv6: str) -> list[str]:
    return ["link set eth0 up", f"address add {ip}/24 dev eth0", f"address add {ipv6}/64 dev eth0 nodad"]


def _routed(subnets: Sequence[str], via: str, via6: str) -> list[str]:
    return [f"route add {subnet} via {via6 if ':' in subnet else via}" for subnet in subnets]


def _take(inode: int, path: str) -> bool:
    """Move this thread into new namespaces until one has the inode, all of them kept meanwhile."""
    with ExitStack() as held:
        for _ in range(NAMESPACES):
            assert libc.unshare(CLONE_NEWNET) == 0
            fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            held.callback(os.close, fd)
            if os.fstat(fd).st_ino == inode:
                Path(path).touch()
                subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/fd/{fd}", path], check=True)
                return True
    return False


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123 - a sysctl is written in one go
        file.write(text)


def end(process: subprocess.Popen[Any]) -> None:
    """End a program by its pid, kindly at first, and reap it."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
