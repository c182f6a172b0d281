"""Debian's packages of the peers, unpacked beside the project and not installed: `.peers/dataplane/`."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / ".peers" / "dataplane"
PACKAGES = {
    "docker-proxy": ("docker.io",),
    "haproxy": ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"),
    "nginx": ("nginx", "libnginx-mod-stream"),
    "socat": ("socat", "libwrap0"),
}
"""Each program's package, and the libraries that a small system lacks."""
PROGRAMS = {
    "docker-proxy": "usr/sbin/docker-proxy",
    "haproxy": "usr/sbin/haproxy",
    "nginx": "usr/sbin/nginx",
    "socat": "usr/bin/socat",
}
VERSION = "version"
STREAM_MODULE = "usr/lib/nginx/modules/ngx_stream_module.so"


class Missing(Exception):
    """A peer that cannot be had here; the text says why."""


def fetch(names: Iterable[str]) -> None:
    """Download and unpack the peers of these names that are not there yet, as far as they can be had."""
    ROOT.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in PACKAGES and not (ROOT / name).is_dir():
            with (
                suppress(OSError, subprocess.CalledProcessError),
                tempfile.TemporaryDirectory(dir=ROOT) as scratch,
            ):
                _unpack(name, Path(scratch))
                _keep(Path(scratch) / "root", ROOT / name)


def home(name: str) -> Path:
    """Where the packages of `name` are unpacked. Raises Missing."""
    if not (ROOT / name).is_dir():
        packages = " ".join(PACKAGES[name])
        raise Missing(f"{name} is left out: apt-get download {packages} did not work")
    return ROOT / name


def _unpack(name: str, scratch: Path) -> None:
    root = scratch / "root"
    root.mkdir()
    argv = ["apt-get", "-q", "download", *PACKAGES[name]]
    subprocess.run(argv, cwd=scratch, check=True, capture_output=True)
    # the whole of docker.io is 150 MB, of which a proxy needs 2
    wanted = f"./{PROGRAMS[name]}" if name == "docker-proxy" else "./usr"
    for package in scratch.glob("*.deb"):
        archive = subprocess.run(
            ["dpkg", "--fsys-tarfile", package], check=True, stdout=subprocess.PIPE
        ).stdout
        subprocess.run(["tar", "-x", "-C", root, wanted], input=archive, check=True)
    described = ["dpkg-deb", "-f", str(next(scratch.glob(f"{PACKAGES[name][0]}_*.deb"))), "Version"]
    version = subprocess.run(described, check=True, capture_output=True, text=True).stdout
    (root / VERSION).write_text(version.strip())


def _keep(unpacked: Path, place: Path) -> None:
    try:
        unpacked.rename(place)
    except OSError:
        if not place.is_dir():  # another run may have been quicker
            raise


def program(name: str) -> str:
    """The path of a peer's program. Raises Missing."""
    return str(home(name) / PROGRAMS[name])


def environment(name: str) -> dict[str, str]:
    """The environment in which it finds its libraries."""
    libraries = [str(path) for path in (home(name) / "usr/lib").glob("*-linux-gnu")]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(libraries)}


def versions() -> dict[str, str]:
    """The versions of Debian's packages that are there, by contestant."""
    return {
        name: (ROOT / name / VERSION).read_text() for name in PACKAGES if (ROOT / name / VERSION).exists()
    }
