import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.kernel.linux import holder as linux_holder
from moorage.kernel.linux.holder import holder

ME = f"pid {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"
pytestmark = pytest.mark.system


def bound(family: int, kind: int, address: str) -> socket.socket:
    made = socket.socket(family, kind)
    made.bind((address, 0))
    return made


@pytest.mark.parametrize(("kind", "proto"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")]
)
def test_a_bound_port_names_its_process(kind: int, proto: str, family: int, address: str) -> None:
    """Whoever bound a port is named with pid and program, for both protocols, each family and dual stack."""
    with bound(family, kind, address) as held:
        port = held.getsockname()[1]
        listen: Callable[[], None] = held.listen if proto == "tcp" else lambda: None
        listen()
        assert holder(proto, port) == ME
    assert holder(proto, port) is None


def test_a_port_bound_without_listening_is_seen() -> None:
    """A TCP socket that is bound and does not listen yet holds its port all the same."""
    with bound(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1") as held:
        assert holder("tcp", held.getsockname()[1]) == ME


def test_protocols_the_kernel_cannot_list_are_nobody_s() -> None:
    """A kernel without SCTP is asked without an error."""
    assert holder("sctp", 80) is None


def test_sockets_that_nobody_has_open_cost_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are at a port, and wherever they are: all of them are looked for at once, and not for long."""
    looked = []
    descriptors = linux_holder._descriptors

    def counted(process: Path, until: float) -> Iterator[str]:
        looked.append(process.name)
        return descriptors(process, until)

    monkeypatch.setattr(linux_holder, "_descriptors", counted)
    near, far = socket.socketpair()
    with near, far, bound(socket.AF_INET6, socket.SOCK_DGRAM, "::1") as held:
        port = held.getsockname()[1]
        socket.send_fds(near, [b"x"], [held.fileno()])
        held.close()  # it is on its way to nobody
        assert holder("udp", port) is None
    assert looked.count(str(os.getpid())) == 1


def test_a_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has opened however much is looked through as far as there is time."""
    with bound(socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1") as held:
        monkeypatch.setattr(linux_holder, "PATIENCE", 0.0)
        assert holder("udp", held.getsockname()[1]) is None


def test_a_port_of_an_ended_connection_is_bound() -> None:
    """Nobody has it, and nobody gets it for a minute: who chooses a port leaves it out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            port = client.getsockname()[1]
        with accepted:
            assert accepted.recv(1) == b""
    assert port in linux_holder.bound("tcp")
    assert holder("tcp", port) is None
