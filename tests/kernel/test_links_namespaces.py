from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from host_links import cookie_at, find_namespace
from lab import Lab
from moorage.errors import Code, Fault, Refused
from moorage.kernel.linux import netns
from moorage.kernel.protocol import Namespace

HERE = "/proc/thread-self/ns/net"


def namespace_here() -> int:
    return Path(HERE).stat().st_ino


def test_a_process_names_its_namespace() -> None:
    """`pid:N` is the namespace of that process, given back as a path."""
    path = f"/proc/{os.getpid()}/ns/net"
    assert find_namespace(f"pid:{os.getpid()}") == Namespace(path, cookie_at(path))
    assert find_namespace(path).path == path


@pytest.mark.system
def test_a_name_is_looked_up_where_iproute2_keeps_them(lab: Lab) -> None:
    """A bare name is one under /run/netns."""
    path = lab.container("web")
    found = Namespace(path, cookie_at(path))
    assert find_namespace(path) == found
    assert find_namespace(Path(path).name) == found


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "run/netns/x",
        "a\0b",
        "/run/a\0b",
        "pid:",
        "pid:0",
        "pid:-1",
        "pid:1x",
        "pid: 1",
        "pid:٣",
        "pid:99999999999",
    ],
)
def test_what_can_name_no_namespace_is_invalid(bad: str) -> None:
    """Relative paths, dots, NULs and bad pids are refused without a look at the file system."""
    with pytest.raises(Refused) as caught:
        find_namespace(bad)
    assert caught.value.code == Code.INVALID


@pytest.mark.parametrize(
    "absent", ["no-such-name", "/run/netns/no-such-name", "/no/such/path", "pid:4194999"]
)
def test_what_is_not_there_is_not_found(absent: str) -> None:
    """A name, a path and a process that do not exist are not found, and nothing is made."""
    with pytest.raises(Refused) as caught:
        find_namespace(absent)
    assert caught.value.code == Code.NOT_FOUND
    assert not Path("/run/netns/no-such-name").exists()


def test_what_is_no_network_namespace_is_invalid(tmp_path: Path) -> None:
    """Files, directories, FIFOs, devices and namespaces of another kind are told apart, at once."""
    file, fifo = tmp_path / "file", tmp_path / "fifo"
    file.touch()
    os.mkfifo(fifo)
    for path in (
        file,
        fifo,
        tmp_path,
        "/dev/null",
        "/proc/self/ns/uts",
        "/proc/self/status",
        "/" + "x" * 5000,
    ):
        with pytest.raises(Refused) as caught:
            find_namespace(str(path))
        assert caught.value.code == Code.INVALID


def test_no_descriptor_is_left_open(lab_free: Callable[[], int]) -> None:
    """Looking a namespace up leaves none of its descriptors behind, whether it is one or not."""
    before = lab_free()
    find_namespace(HERE)
    with pytest.raises(Refused):
        find_namespace("/dev/null")
    assert lab_free() == before


@pytest.fixture
def lab_free() -> Callable[[], int]:
    return lambda: len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.system
def test_only_this_thread_goes_in_and_it_comes_home(lab: Lab) -> None:
    """Inside, this thread is in the container and no other is; after an error inside, it is home."""
    lab.container("web")
    home = namespace_here()
    with ThreadPoolExecutor(1) as bystander, netns.opened(lab.path("web")) as fd:
        assert bystander.submit(namespace_here).result() == home
        with suppress(ZeroDivisionError), netns.inside(fd):
            assert namespace_here() == os.fstat(fd).st_ino
            assert bystander.submit(namespace_here).result() == home
            raise ZeroDivisionError
    assert namespace_here() == home


@pytest.mark.system
def test_not_coming_home_is_a_fault(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that cannot leave a container does not go on in silence."""
    path = lab.container("web")
    real, calls = netns.setns, []

    def once(fd: int) -> None:
        calls.append(fd)
        if len(calls) > 1:
            raise PermissionError(1, "stuck")
        real(fd)

    def strand() -> None:
        with netns.opened(path) as fd, pytest.raises(Fault, match="cannot leave"), netns.inside(fd):
            pass

    monkeypatch.setattr(netns, "setns", once)
    thread = threading.Thread(target=strand)
    thread.start()
    thread.join()
    assert len(calls) == 2


def test_gone_is_a_missing_path_or_another_namespace() -> None:
    """A namespace is gone when its path is, or when the path leads to another."""
    here = find_namespace(f"pid:{os.getpid()}")
    assert not netns.is_gone(here)
    assert netns.is_gone(here._replace(cookie=1 << 40))
    assert netns.is_gone(here._replace(path="/no/such/path"))


WITHOUT_RIGHTS = """
import os, sys
from moorage.errors import Refused
from moorage.kernel.linux.links import LinuxLinks
from moorage.values import Network
libc = __import__("ctypes").CDLL(None)
links = LinuxLinks(lambda path, value: None)
assert links.occupied() is not None
header = (0x20080522).to_bytes(4, "little") + bytes(4)
assert libc.capset(header, bytes(24)) == 0
try:
    links.ensure_network(Network("n", "moorage7", "10.7.0.0/24", "10.7.0.1"))
except Refused as refused:
    print(refused)
links.close()
"""


@pytest.mark.system
def test_without_the_right_the_missing_capability_is_named(lab: Lab) -> None:
    """A program without capabilities is refused, told which one it lacks, and has made nothing."""
    said = lab.run(
        "host",
        [sys.executable, "-c", WITHOUT_RIGHTS],
        stderr=subprocess.STDOUT,
        capture_output=False,
        stdout=subprocess.PIPE,
    )
    assert said.startswith("denied: ")
    assert "CAP_NET_ADMIN" in said
    assert "moorage7" not in lab.run("host", ["ip", "link"])
