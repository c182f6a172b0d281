"""The peers that carry bytes in user space, with the settings that serve them best on two cores."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plane.packages import DOCKER_PROXIES, STREAM_MODULE, Missing, environment, program
from plane.packages import home as unpacked
from plane.place import Place

CONNECTIONS = 30_000
HAPROXY = """
global
    maxpipes 256
    tune.pipesize 1048576
defaults
    mode tcp
    option splice-auto
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:{port} backlog 4096
    server container {inside}:{port}
"""
NGINX = """
load_module {module};
user root;
daemon off;
worker_processes auto;
worker_rlimit_nofile {descriptors};
pid {home}/pid;
events {{ worker_connections {connections}; multi_accept on; }}
stream {{
    proxy_half_close on;
    proxy_buffer_size 64k;
    proxy_timeout 1h;
    server {{ listen 127.0.0.1:{port} reuseport backlog=4096; tcp_nodelay on; proxy_pass {inside}:{port}; }}
    server {{ listen 127.0.0.1:{port} udp reuseport; proxy_timeout 90s; proxy_pass {inside}:{port}; }}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running peer."""

    pids: Sequence[int]
    udp: bool
    most: int = CONNECTIONS
    """Connections at a time."""


def docker_proxy(name: str) -> Callable[[Place, Path, str, int], Proxy]:
    """That of this name: a process for each protocol, as dockerd starts them."""

    def start(place: Place, home: Path, inside: str, port: int) -> Proxy:  # noqa: ARG001 - keeps no files
        return Proxy([docker_port(name, place, proto, inside, port) for proto in ("tcp", "udp")], udp=True)

    return start


def docker_port(name: str, place: Place, proto: str, inside: str, port: int) -> int:
    """Publish one port by the docker-proxy of this name, which says on descriptor 3 that it listens; the pid."""
    ports = ("-host-port", str(port), "-container-ip", inside, "-container-port", str(port))
    argv = [program(name), "-proto", proto, "-host-ip", "127.0.0.1", *ports]
    process = place.start(
        ["sh", "-c", 'exec "$@" 3>&1', "sh", *argv], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    if process.stdout.read(2) != b"0\n":
        raise Missing(f"{name} did not start: {process.stdout.read()!r}")
    return process.pid


def haproxy(place: Place, home: Path, inside: str, port: int) -> Proxy:
    """As many threads as there are cores, and connections as descriptors allow, its own choice."""
    config = home / "haproxy.cfg"
    config.write_text(HAPROXY.format(inside=inside, port=port))
    process = place.start(
        [program("haproxy"), "-db", "-q", "-f", str(config)],
        env=environment("haproxy"),
        stderr=subprocess.DEVNULL,
    )
    return Proxy([process.pid], udp=False)


def nginx(place: Place, home: Path, inside: str, port: int) -> Proxy:
    """Two workers, which share a port by SO_REUSEPORT."""
    config = home / "nginx.conf"
    settings = {"connections": CONNECTIONS, "descriptors": 2 * CONNECTIONS, "inside": inside, "port": port}
    module = unpacked("nginx") / STREAM_MODULE
    config.write_text(NGINX.format(home=home, module=module, **settings))
    argv = [program("nginx"), "-p", str(home), "-e", "stderr", "-c", str(config)]
    process = place.start(argv, env=environment("nginx"), stderr=subprocess.DEVNULL)
    return Proxy([process.pid], udp=True)


def socat(place: Place, home: Path, inside: str, port: int) -> Proxy:  # noqa: ARG001 - keeps no files
    """A process for each connection."""
    listen = f"TCP4-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,nodelay,backlog=4096"
    argv = [program("socat"), "-b", "65536", "-t", "30", listen, f"TCP4:{inside}:{port},nodelay"]
    return Proxy([place.start(argv, env=environment("socat")).pid], udp=False, most=1_000)


PROXIES: dict[str, Callable[[Place, Path, str, int], Proxy]] = {
    **{name: docker_proxy(name) for name in DOCKER_PROXIES},
    "haproxy": haproxy,
    "nginx": nginx,
    "socat": socat,
}
