"""Debian's netavark and CNI plugins, of either generation, as podman and a runtime's library call them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from ipaddress import ip_network
from itertools import islice
from pathlib import Path
from typing import Any

import generations
from generations import OWN, Generation
from rooms import Container, Room

ROOT = generations.PEERS
PACKAGES = ("netavark", "containernetworking-plugins", *generations.IPTABLES)
NETAVARK, PLUGINS = "usr/lib/podman/netavark", "usr/lib/cni"
NAMES = ("netavark", "cni")
NEWER_NAMES = tuple(generations.NEWER.named(name) for name in NAMES)
SUBNET, GATEWAY = "10.99.0.0/16", "10.99.0.1"
PORTS = ((8080, 80, "tcp"), (5353, 53, "udp"))
"""What every contestant publishes for the measured container: host port, container port, protocol."""


class Failed(SystemExit):
    """A program of a peer ended with an error, which its text is; it ends a benchmark that does not catch it."""


class Killed(Exception):
    """The deadline came first: the program was killed, and all that it had started."""


def fetch() -> None:
    """Download and unpack the machine's own generation unless it is there. Raises OSError with what is in the way."""
    if (ROOT / "bin/nft").is_symlink():
        return
    downloads = ROOT / "downloads"
    # newer ones execute nft, whose libraries have other names in every suite
    generations.download((*PACKAGES, *generations.with_libraries(["nftables"])), downloads, ())
    for package in downloads.glob("*.deb"):
        generations.unpack(package, ROOT, ".")
    generations.link_tools(ROOT / "bin")


def fetch_all(names: Collection[str]) -> None:
    """Of both generations, as far as these contestants are of them. Raises OSError with what is in the way."""
    if set(NAMES) & set(names):
        fetch()
    if any(generations.generation(name) is generations.NEWER for name in names):
        generations.fetch_newer()


def version(package: str) -> str:
    """The version of a package that was downloaded, or that would be; `unknown` without apt."""
    found = sorted((ROOT / "downloads").glob(f"{package}_*.deb"))
    if found:
        return found[-1].name.split("_")[1]
    try:
        argv = ["apt-cache", "show", "--no-all-versions", package]
        shown = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except OSError:
        return "unknown"
    lines = [line.partition(": ")[2] for line in shown.splitlines() if line.startswith("Version: ")]
    return lines[0] if lines else "unknown"


def versions(names: Collection[str]) -> dict[str, str]:
    """Of those contestants that are among these."""
    packages = {"netavark": "netavark", "cni": "containernetworking-plugins", "docker-proxy": "docker.io"}
    own = {name: version(package) for name, package in packages.items() if name in names}
    newer = {generations.NEWER.named(name): package for name, package in packages.items()}
    return own | {
        name: generations.newer_version(package) for name, package in newer.items() if name in names
    }


def host_ports(serial: int) -> list[tuple[int, int, str]]:
    """The ports of the container with this number; 0 is the measured one."""
    return [(host + serial, container, proto) for host, container, proto in PORTS]


class Netavark:
    """netavark's bridge driver as podman runs it: one process for set-up, one for teardown.

    Choosing the address is podman's part and not measured.
    """

    def __init__(self, directory: Path, generation: Generation = OWN) -> None:
        """Keep its state in `directory`."""
        self.name = generation.named("netavark")
        self.room = Room()
        self._program = str(generation.path(NETAVARK))
        self._config = directory / self.name
        self._config.mkdir()
        self._environment = generation.environment()
        self._addresses: Iterator[str] = map(str, islice(ip_network(SUBNET).hosts(), 1, None))
        self._given: dict[str, str] = {}
        self.deadline: float | None = None
        """When programs are killed, by the monotonic clock."""

    def add(self, container: Container, serial: int) -> None:
        """Connect a container and publish its ports."""
        self._given[container.name] = next(self._addresses)
        self._run("setup", container, serial)

    def remove(self, container: Container, serial: int) -> None:
        """Take it back."""
        self._run("teardown", container, serial)

    def close(self) -> None:
        """Leave the room."""
        self.room.close()

    def _run(self, command: str, container: Container, serial: int) -> None:
        argv = [self._program, "--config", str(self._config), command]
        options = json.dumps(self._options(container, serial)).encode()
        self.room.call(_run, [*argv, str(container.path)], options, self._environment, self.deadline)

    def _options(self, container: Container, serial: int) -> dict[str, Any]:
        ports = [
            {"host_ip": "", "host_port": host, "container_port": inside, "protocol": proto, "range": 1}
            for host, inside, proto in host_ports(serial)
        ]
        network = {
            "name": "bench",
            "id": "b" * 64,
            "driver": "bridge",
            "network_interface": "bench0",
            "subnets": [{"subnet": SUBNET, "gateway": GATEWAY}],
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
            "ipam_options": {"driver": "host-local"},
        }
        place = {"interface_name": "eth0", "static_ips": [self._given[container.name]]}
        return {
            "container_id": container.name.ljust(64, "0"),
            "container_name": container.name,
            "port_mappings": ports,
            "networks": {"bench": place},
            "network_info": {"bench": network},
        }


class Cni:
    """The plugins bridge, host-local and portmap, chained as a runtime's library does it."""

    def __init__(self, directory: Path, generation: Generation = OWN) -> None:
        """Keep the leases in `directory`."""
        self.name = generation.named("cni")
        self.room = Room()
        self._plugins = generation.path(PLUGINS)
        self._environment = generation.environment() | {"CNI_PATH": str(self._plugins), "CNI_IFNAME": "eth0"}
        self._results: dict[str, Any] = {}
        self.deadline: float | None = None
        """When plugins are killed, by the monotonic clock."""
        self.leases = directory / self.name / "bench"
        """Where host-local keeps a file for each address."""
        ranges = [[{"subnet": SUBNET, "gateway": GATEWAY}]]
        ipam = {
            "type": "host-local",
            "ranges": ranges,
            "dataDir": str(directory / self.name),
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        self._bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": ipam,
        }

    def add(self, container: Container, serial: int) -> None:
        """Connect a container and publish its ports."""
        result = self._run("ADD", container, self._bridge)
        self._results[container.name] = self._run("ADD", container, self._portmap(serial), result)

    def remove(self, container: Container, serial: int) -> None:
        """Take it back, in reverse order; without the results of connecting it where there are none."""
        result = self._results.pop(container.name, None)
        self._run("DEL", container, self._portmap(serial), result)
        self._run("DEL", container, self._bridge, result)

    def close(self) -> None:
        """Leave the room."""
        self.room.close()

    def _portmap(self, serial: int) -> dict[str, Any]:
        ports = [
            {"hostPort": host, "containerPort": inside, "protocol": proto}
            for host, inside, proto in host_ports(serial)
        ]
        capabilities = {"portMappings": True}
        return {
            "type": "portmap",
            "capabilities": capabilities,
            "snat": True,
            "runtimeConfig": {"portMappings": ports},
        }

    def _run(self, command: str, container: Container, plugin: dict[str, Any], previous: Any = None) -> Any:
        config = {"cniVersion": "1.0.0", "name": "bench", **plugin}
        if previous is not None:
            config["prevResult"] = previous
        environment = self._environment | {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container.name,
            "CNI_NETNS": str(container.path),
        }
        argv = [str(self._plugins / str(plugin["type"]))]
        output = self.room.call(_run, argv, json.dumps(config).encode(), environment, self.deadline)
        return json.loads(output) if output else None


def enter(name: str, directory: Path) -> Netavark | Cni:
    """A contestant by its name."""
    generation = generations.generation(name)
    kind = Netavark if name == generation.named("netavark") else Cni
    return kind(directory, generation)


def _run(argv: list[str], stdin: bytes, environment: dict[str, str], deadline: float | None) -> bytes:
    with subprocess.Popen(
        argv,
        env=environment,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            left = None if deadline is None else max(0, deadline - time.monotonic())
            output, errors = process.communicate(stdin, left)
        except subprocess.TimeoutExpired as late:
            os.killpg(process.pid, signal.SIGKILL)
            raise Killed(argv[0]) from late
    if process.returncode:
        text = (output + errors).decode(errors="replace")
        raise Failed(f"{Path(argv[0]).name} failed with {process.returncode}: {text}")
    return output
