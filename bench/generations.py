"""Two generations of Debian's peers: the machine's own suite, and the newest, whose programs bring their C library.

Both are unpacked beside the project and not installed. The newer suite is asked for with package lists of its own, at
the archive that the machine's apt is configured with; its programs are told to use the loader and the libraries that
were unpacked with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent / ".peers"
SUITE = "forky"
RELEASE = Path("/etc/os-release")
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
IPTABLES = (
    *("iptables", "libip4tc2", "libip6tc2", "libxtables12", "libnetfilter-conntrack3", "libnfnetlink0"),
    *("libnftnl11", "libmnl0"),
)
"""What peers execute, and the libraries that come from its source or that only it needs."""
NFT = ("nftables", "libnftables1", "libedit2", "libjansson4", "libgmp10", "libtinfo6", "libbsd0", "libmd0")
LIBRARIES = ("libc6", "libgcc-s1")
TOOLS = ("iptables", "ip6tables", "iptables-save", "ip6tables-save", "iptables-restore", "ip6tables-restore")
PROGRAMS = ("usr/lib/podman/netavark", "usr/lib/cni", "usr/sbin/xtables-nft-multi", "usr/sbin/nft")
DOCKER_PROXY = "usr/sbin/docker-proxy"
PLACE, VERSIONS = "place", "versions"
"""Files that say where a generation was made to lie, and the versions of its packages."""


@dataclass(frozen=True)
class Generation:
    """One generation: what its contestants' names end with, and where it is unpacked."""

    suffix: str
    root: Path

    def named(self, name: str) -> str:
        """A contestant of it: `netavark`, `netavark-forky`."""
        return f"{name}{self.suffix}"

    def path(self, program: str) -> Path:
        """Where one of its programs is."""
        return self.root / program

    @property
    def libraries(self) -> Path:
        """Where its shared libraries are."""
        return next((self.root / "usr/lib").glob("*-linux-gnu"))

    def environment(self) -> dict[str, str]:
        """What its programs need to find what they execute."""
        found = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "XTABLES_LIBDIR": str(self.libraries / "xtables"),
        }
        if not self.suffix:
            found["LD_LIBRARY_PATH"] = str(self.libraries)
        return os.environ | found


OWN = Generation("", PEERS)
NEWER = Generation(f"-{SUITE}", PEERS / SUITE)


NEWER_NAMES = tuple(NEWER.named(name) for name in ("netavark", "cni", "docker-proxy"))


def generation(contestant: str) -> Generation:
    """Whose contestant that is, by its name."""
    return NEWER if contestant.endswith(NEWER.suffix) else OWN


def is_newer_there() -> bool:
    """Whether the newer one was unpacked, for where it lies now."""
    place = NEWER.root / PLACE
    return place.is_file() and place.read_text() == str(NEWER.root)


def fetch_newer() -> None:
    """Download and unpack it unless it is there. Raises OSError, with what stands in the way."""
    if is_newer_there():
        return
    PEERS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PEERS) as name:
        scratch = Path(name)
        root = scratch / "root"
        download(("patchelf",), scratch / "patchelf", ())
        packages = ("netavark", "containernetworking-plugins", "docker.io", *IPTABLES, *NFT, *LIBRARIES)
        download(packages, scratch / "debs", _lists(scratch))
        for package in (scratch / "debs").glob("*.deb"):
            # the whole of docker.io is 100 MB, of which a proxy needs 2
            unpack(package, root, f"./{DOCKER_PROXY}" if package.name.startswith("docker.io_") else ".")
        for package in (scratch / "patchelf").glob("*.deb"):
            unpack(package, scratch / "tools", ".")
        (root / VERSIONS).write_text("".join(_versions(scratch / "debs")))
        _settle(root, scratch / "tools/usr/bin/patchelf")
        shutil.rmtree(NEWER.root, ignore_errors=True)
        root.rename(NEWER.root)


def newer_version(package: str) -> str:
    """The version of one of its packages; `unknown` where it is not there."""
    listed = NEWER.root / VERSIONS
    lines = listed.read_text().splitlines() if listed.is_file() else []
    return dict(line.split(" ", 1) for line in lines).get(package, "unknown")


def link_tools(directory: Path) -> None:
    """Names for iptables as the package's maintainer scripts make them: the nftables kind. At last nft's own."""
    directory.mkdir(exist_ok=True)
    for tool in (*TOOLS, "nft"):
        (directory / tool).unlink(missing_ok=True)
        (directory / tool).symlink_to(f"../usr/sbin/{'nft' if tool == 'nft' else 'xtables-nft-multi'}")


def download(packages: Sequence[str], directory: Path, options: Sequence[str]) -> None:
    """Have apt put these packages there. Raises OSError with its last words."""
    directory.mkdir(parents=True, exist_ok=True)
    run(["apt-get", "-q", *options, "download", *packages], directory)


def with_libraries(packages: Sequence[str]) -> list[str]:
    """These, and what they depend on and this system lacks, as its suite calls it. Raises OSError."""
    tried = run(["apt-get", "-q", "--simulate", "--no-install-recommends", "install", *packages], PEERS)
    lacking = [line.split(" ")[1] for line in tried.splitlines() if line.startswith("Inst ")]
    return sorted({*packages, *lacking})


def unpack(package: Path, root: Path, wanted: str) -> None:
    """Unpack what is `wanted` of a package, or `.` for all. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(["dpkg", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as archive:
        run(["tar", "-x", "-C", str(root), wanted], root, stdin=archive.stdout)


def run(command: Sequence[str], directory: Path, **streams: object) -> str:
    """What a program writes. Raises OSError with its last words where it fails."""
    done = subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True, **streams)  # type: ignore[call-overload]
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise OSError(f"{command[0]} {command[-1]}: {said[-1]}")
    return str(done.stdout)


def _lists(scratch: Path) -> list[str]:
    """The options with which apt knows that suite and no other, its lists in `scratch`."""
    for part in ("lists/partial", "archives/partial"):
        (scratch / part).mkdir(parents=True)
    trusted = f"[signed-by={KEYS}] " if KEYS.exists() else ""
    (scratch / "sources.list").write_text(f"deb {trusted}{_archive()} {SUITE} main\n")
    settings = {
        "Dir::Etc::SourceList": scratch / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": scratch / "lists",
        "Dir::Cache": scratch,
        "Dir::Cache::Archives": scratch / "archives",
        "Acquire::Languages": "none",
    }
    options = [option for key, value in settings.items() for option in ("-o", f"{key}={value}")]
    run(["apt-get", "-q", *options, "update"], scratch)
    return options


def _archive() -> str:
    """Debian's archive, as the machine's apt is configured. Raises OSError on another system."""
    described = RELEASE.read_text().splitlines()
    suite = next((line.partition("=")[2] for line in described if line.startswith("VERSION_CODENAME=")), "")
    listed = [
        "apt-get",
        "indextargets",
        "--format",
        "$(RELEASE) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ]
    for line in run(listed, PEERS).splitlines():
        release, component, archive = line.split(" ", 2)
        if (release, component) == (suite, "main"):
            return archive
    raise OSError(f"apt is configured with no archive of the suite {suite!r}")


def _settle(root: Path, patchelf: Path) -> None:
    """Make programs use the loader and libraries beside them, wherever they are called from."""
    link_tools(root / "bin")
    libraries = next((root / "usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*.so.*"))
    used = NEWER.root / loader.relative_to(root)
    for program in _programs(root):
        above = os.path.relpath(libraries, program.parent)
        run([str(patchelf), "--set-interpreter", str(used), "--set-rpath", f"$ORIGIN/{above}",
             "--force-rpath", str(program)], root)  # fmt: skip
    (root / PLACE).write_text(str(NEWER.root))


def _programs(root: Path) -> Iterable[Path]:
    for name in (*PROGRAMS, DOCKER_PROXY):
        place = root / name
        yield from (place.iterdir() if place.is_dir() else [place])


def _versions(debs: Path) -> Iterable[str]:
    for package in sorted(debs.glob("*.deb")):
        yield f"{run(['dpkg-deb', '-W', '--showformat=${Package} ${Version}', str(package)], debs)}\n"
