"""A machine that has nothing yet: a root made by debootstrap, entered by pivot_root in namespaces of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from reach import Reach, Unreachable

from debian import PEERS, unpack

PROJECT = Path(__file__).resolve().parents[2]
KEYRING = Path("usr/share/keyrings/debian-archive-keyring.gpg")
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--cgroup"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class User:
    """Whose commands run; `home` is inside."""

    name: str
    uid: int
    home: str

    @property
    def clone(self) -> str:
        """Where this user has the project."""
        return f"{self.home}/moorage"


ROOT = User("root", 0, "/root")
ORDINARY = User("newcomer", 1000, "/home/newcomer")


class Machine:
    """The root of one machine in a folder, of which nothing but what `reach` names leads outside."""

    def __init__(self, folder: Path, reach: Reach) -> None:
        """Nothing is made yet."""
        self._root = folder
        self._reach = reach

    def make(self, suite: str, log: Path) -> None:
        """Let debootstrap make the smallest system of that suite. Raises CalledProcessError."""
        program, data, keyring = _debootstrap()
        script = data / "scripts" / suite
        if not script.exists():  # a suite that is newer than debootstrap
            data = _with_script(data, suite, self._root.with_suffix(".debootstrap"))
        flags = ["--variant=minbase", f"--keyring={keyring}"]
        with log.open("wb") as file:
            subprocess.run(
                ["bash", program, *flags, suite, self._root, self._reach.mirror],
                env=os.environ | self._proxies() | {"DEBOOTSTRAP_DIR": str(data)},
                stdout=file,
                stderr=subprocess.STDOUT,
                check=True,
            )
        for path, text in self._reach.files.items():
            place = self._root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def copy(self, folder: Path) -> Machine:
        """Another one, the same."""
        subprocess.run(["cp", "-a", "--reflink=auto", self._root, folder], check=True)
        return Machine(folder, self._reach)

    def give(self, user: User) -> None:
        """Let there be such a user with a clone of the committed tree, and nothing else."""
        if user.uid:
            self._change_root("useradd", "--create-home", "--uid", str(user.uid), user.name)
        clone = self._root / user.clone.lstrip("/")
        subprocess.run(
            ["git", "-c", "advice.detachedHead=false", "clone", "-q", "--no-hardlinks", PROJECT, clone],
            check=True,
        )
        self._change_root("chown", "-R", f"{user.uid}:{user.uid}", user.clone)

    def run(self, user: User, command: Sequence[str], log: Path, more: Mapping[str, str]) -> int:
        """Run a command in the user's clone, if there is one, and return its exit status; nothing outlives it."""
        cgroup = _new_cgroup()
        try:
            with log.open("wb") as file:
                argv = [
                    *_joining(cgroup),
                    *NAMESPACES,
                    *self._entering(user),
                    *self._inside(user, more),
                    *command,
                ]
                return subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
                ).returncode
        finally:
            if cgroup:
                _remove_cgroup(cgroup)

    def _entering(self, user: User) -> list[str]:
        script = Path(__file__).with_name("enter.sh")
        who = [str(user.uid), str(user.uid), user.home]
        return ["bash", str(script), str(self._root), *who, *sorted(self._reach.shared), "--"]

    def _inside(self, user: User, more: Mapping[str, str]) -> list[str]:
        variables = {"HOME": user.home, "USER": user.name, "PATH": PATH, "TERM": "dumb"}
        variables |= self._reach.environment | dict(more)
        told = [f"{key}={value}" for key, value in variables.items()]
        return ["env", "-i", *told, "sh", "-c", f'cd {user.clone} 2>/dev/null; exec "$@"', "sh"]

    def remove(self) -> None:
        """Leave nothing of it."""
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.rmtree(self._root.with_suffix(".debootstrap"), ignore_errors=True)

    def _change_root(self, *command: str) -> None:
        subprocess.run(["chroot", self._root, *command], check=True, env={"PATH": PATH})

    def _proxies(self) -> dict[str, str]:
        return {
            key: value for key, value in self._reach.environment.items() if key.lower().endswith("_proxy")
        }


def _debootstrap() -> tuple[Path, Path, Path]:
    """The program, the folder of its scripts, and Debian's keys: installed ones, or unpacked beside the project."""
    places = [Path("/")]
    if shutil.which("debootstrap") is None or not Path("/", KEYRING).exists():
        try:
            unpack("debootstrap", ["debootstrap", "debian-archive-keyring"])
        except OSError as error:
            raise Unreachable(f"debootstrap cannot be fetched: {error}") from error
        places = [PEERS / "debootstrap"]
    (place,) = places
    return place / "usr/sbin/debootstrap", place / "usr/share/debootstrap", place / KEYRING


def _with_script(data: Path, suite: str, folder: Path) -> Path:
    """A copy of debootstrap's scripts that makes this suite as it makes the others of Debian."""
    shutil.copytree(data, folder, symlinks=True)
    (folder / "scripts" / suite).symlink_to("sid")
    return folder


def _joining(cgroup: Path | None) -> list[str]:
    """What a program of that cgroup begins with."""
    return ["sh", "-c", f'echo $$ >"{cgroup}/cgroup.procs"; exec "$@"', "sh"] if cgroup else []


def _new_cgroup() -> Path | None:
    """A cgroup below this process's own, which is the root of all to the machine; None where there is none."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        if source.startswith("cgroup2 "):
            own = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip().lstrip("/")
            made = Path(mount.split(" ")[4], own, f"moorage-bare-{os.getpid()}")
            try:
                made.mkdir()
            except OSError:
                return None
            return made
    return None


def _remove_cgroup(made: Path) -> None:
    """What was killed in there may take a moment to be gone."""
    until = time.monotonic() + 10
    while made.exists():
        for folder in sorted((path for path in made.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        try:
            made.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
