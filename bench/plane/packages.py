"""Debian's packages of the peers, unpacked beside the project and not installed: `.peers/dataplane/`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from generations import (
    DOCKER_PROXY,
    NEWER,
    SUITE,
    download,
    fetch_newer,
    generation,
    is_newer_there,
    newer_version,
    run,
    unpack,
    with_libraries,
)

ROOT = Path(__file__).resolve().parents[2] / ".peers" / "dataplane"
PACKAGES = {
    "docker-proxy": ("docker.io",),
    "haproxy": ("haproxy",),
    "nginx": ("nginx", "libnginx-mod-stream"),
    "socat": ("socat",),
}
"""Each program's packages."""
PROGRAMS = {
    "docker-proxy": DOCKER_PROXY,
    "haproxy": "usr/sbin/haproxy",
    "nginx": "usr/sbin/nginx",
    "socat": "usr/bin/socat",
}
VERSION = "version"
STREAM_MODULE = "usr/lib/nginx/modules/ngx_stream_module.so"


DOCKER_PROXIES = ("docker-proxy", NEWER.named("docker-proxy"))


class Missing(Exception):
    """A peer that cannot be had here; the text says why."""


def fetch(names: Iterable[str]) -> None:
    """Download and unpack the peers of these names that are not there yet, as far as they can be had."""
    ROOT.mkdir(parents=True, exist_ok=True)
    if any(generation(name) is NEWER for name in names):
        with suppress(OSError):
            fetch_newer()
    for name in names:
        if name in PACKAGES and not (ROOT / name).is_dir():
            with suppress(OSError), tempfile.TemporaryDirectory(dir=ROOT) as scratch:
                _unpack(name, Path(scratch))
                _keep(Path(scratch) / "root", ROOT / name)


def home(name: str) -> Path:
    """Where the packages of `name` are unpacked. Raises Missing."""
    if generation(name) is NEWER:
        if not is_newer_there():
            raise Missing(f"{name} is left out: the suite {SUITE} could not be had")
        return NEWER.root
    if not (ROOT / name).is_dir():
        packages = " ".join(PACKAGES[name])
        raise Missing(f"{name} is left out: apt-get download {packages} did not work")
    return ROOT / name


def _unpack(name: str, scratch: Path) -> None:
    root = scratch / "root"
    root.mkdir()
    # the whole of docker.io is 150 MB, of which a proxy needs 2, and no library
    needed = PACKAGES[name] if name == "docker-proxy" else with_libraries(PACKAGES[name])
    download(needed, scratch, ())
    wanted = f"./{PROGRAMS[name]}" if name == "docker-proxy" else "./usr"
    for package in scratch.glob("*.deb"):
        unpack(package, root, wanted)
    package = next(scratch.glob(f"{PACKAGES[name][0]}_*.deb"))
    version = run(["dpkg-deb", "-f", str(package), "Version"], scratch)
    (root / VERSION).write_text(version.strip())


def _keep(unpacked: Path, place: Path) -> None:
    try:
        unpacked.rename(place)
    except OSError:
        if not place.is_dir():  # another run may have been quicker
            raise


def program(name: str) -> str:
    """The path of a peer's program. Raises Missing."""
    return str(home(name) / PROGRAMS[name.removesuffix(NEWER.suffix)])


def environment(name: str) -> dict[str, str]:
    """The environment in which it finds its libraries."""
    libraries = [str(path) for path in (home(name) / "usr/lib").glob("*-linux-gnu")]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(libraries)}


def versions() -> dict[str, str]:
    """The versions of Debian's packages that are there, by contestant."""
    own = {name: (ROOT / name / VERSION).read_text() for name in PACKAGES if (ROOT / name / VERSION).exists()}
    packages = {"netavark": "netavark", "docker-proxy": "docker.io"}
    newer = {NEWER.named(name): newer_version(package) for name, package in packages.items()}
    return own | (newer if is_newer_there() else {})
