"""Places in which programs run: the host of a stage, its container, and the world outside."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any

from rooms import Container, Room

BRIDGE, GATEWAY, INSIDE, PREFIX = "bench0", "10.97.0.1", "10.97.0.2", 16
HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"
"""Addresses of a host and of its client, from a block of RFC 5737."""
SHORT = {
    "nf_conntrack_tcp_timeout_time_wait": 1,
    "nf_conntrack_tcp_timeout_close": 1,
    "nf_conntrack_udp_timeout": 2,
    "nf_conntrack_udp_timeout_stream": 2,
}
"""Seconds that connections are remembered for when over, so that a table of any size holds a benchmark's."""
CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
USUAL = "cubic"
"""What Linux has unless told otherwise. With bbr, which keeps a pace by a timer, bulk within a host shows the pace."""
_serial = count(1)


class Place:
    """A network namespace, and the programs started in it, which end with it."""

    def __init__(self, path: Path) -> None:
        """Use the namespace at `path`."""
        self.path = path
        self._exit = ExitStack()

    def start(
        self, argv: list[str], *, env: Mapping[str, str] | None = None, **streams: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program there; its pid is the process's own."""
        entered = ["nsenter", f"--net={self.path}", *argv]
        streams.setdefault("stdin", subprocess.DEVNULL)
        process: subprocess.Popen[bytes] = subprocess.Popen(entered, env=env, **streams)
        self._exit.callback(end, process)
        return process

    def run(self, *argv: str, text: str | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a program to its end. Raises SystemExit with what it said."""
        entered = ["nsenter", f"--net={self.path}", *argv]
        done = subprocess.run(entered, input=text, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{argv[0]} failed with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def ip(self, *lines: str) -> None:
        """Change links and addresses."""
        self.run("ip", "-batch", "-", text="\n".join(lines))

    def close(self) -> None:
        """End what was started there, the last first."""
        self._exit.close()


class Stage:
    """A host with one container and one client outside, in namespaces of their own. A context manager."""

    def __init__(self, name: str) -> None:
        """Make them; the container is not connected yet."""
        self._exit = ExitStack()
        self.room = Room()
        self._exit.callback(self.room.close)
        serial = next(_serial)
        self.container_name = f"{name}-{serial}"
        self.container = self._place(self.container_name)
        self.outside = self._place(f"{name}-{serial}-outside")
        self.host = Place(Path(f"/proc/{os.getpid()}/task/{self.room.call(threading.get_native_id)}/ns/net"))
        self._exit.callback(self.host.close)
        self._wire()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def bridge(self) -> str:
        """Connect the container to the host by a bridge of our own; its address."""
        self.host.ip(
            f"link add {BRIDGE} type bridge",
            f"address add {GATEWAY}/{PREFIX} dev {BRIDGE}",
            f"link set {BRIDGE} up",
            f"link add veth0 type veth peer name eth0 netns {self.container.path}",
            f"link set veth0 master {BRIDGE} up",
        )
        self.container.ip(
            f"address add {INSIDE}/{PREFIX} dev eth0", "link set eth0 up", f"route add default via {GATEWAY}"
        )
        return INSIDE

    def _place(self, name: str) -> Place:
        container = Container(name)
        self._exit.callback(container.remove)
        place = Place(container.path)
        self._exit.callback(place.close)
        place.ip("link set lo up")
        return place

    def _wire(self) -> None:
        self.host.ip(
            f"link add out0 type veth peer name eth0 netns {self.outside.path}",
            f"address add {HOST}/24 dev out0",
            "link set out0 up",
        )
        self.outside.ip(
            f"address add {OUTSIDE}/24 dev eth0", "link set eth0 up", f"route add default via {HOST}"
        )
        self.room.call(_set_sysctls)
        for place in (self.host, self.container, self.outside):
            place.run("sh", "-c", f"echo {USUAL} 2>/dev/null >{CONGESTION} || :")


def _set_sysctls() -> None:
    """`/proc/sys/net` is that of the thread's own namespace.

    A proxy whose clients close first would soon have no port left for the container; a second later it may have them
    again.
    """
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv4/tcp_tw_reuse").write_text("1")
    for key, seconds in SHORT.items():
        with suppress(OSError):  # a kernel without connection tracking, or one that keeps it from users
            Path("/proc/sys/net/netfilter", key).write_text(str(seconds))


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program by its pid, kindly at first, and reap it."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
