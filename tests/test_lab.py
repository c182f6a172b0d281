import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from echo_server import ask
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab

pytestmark = pytest.mark.system


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize(("host", "outside"), [(HOST, OUTSIDE), (HOST6, OUTSIDE6)])
def test_echo_server_names_the_client_it_saw(proto: str, host: str, outside: str) -> None:
    """An echo server answers with the client's address and port, its own name and the words."""
    with Lab() as lab:
        lab.echo_server("host", proto, 7)
        with lab.open("outside", (host, 7), proto) as client:
            answer = ask(client, b"two words")
            assert answer == (outside, client.getsockname()[1], "host", b"two words")


def test_what_is_not_served_cannot_be_reached() -> None:
    """Reaching fails where nobody listens, and again where somebody did and has closed."""
    with Lab() as lab:
        assert not lab.can_reach("outside", (HOST, 7))
        server = lab.echo_server("host", "tcp", 7)
        assert lab.can_reach("outside", (HOST, 7))
        server.close()
        assert not lab.can_reach("outside", (HOST, 7))


def test_a_connection_carries_many_questions() -> None:
    """A connection kept open goes on being answered, so that tests can see whether it breaks."""
    with Lab() as lab:
        lab.echo_server("host", "tcp", 7)
        with lab.open("outside", (HOST, 7)) as client:
            assert [ask(client, b"%d" % n).payload for n in range(3)] == [b"0", b"1", b"2"]


def test_call_runs_in_the_namespace_and_leaves_the_caller_where_it_was() -> None:
    """A call sees the links of its namespace, raises what the function raised, and moves no other thread."""
    before = Path("/proc/thread-self/ns/net").readlink()
    with Lab() as lab:
        assert {name for _, name in lab.call("host", socket.if_nameindex)} == {"lo", "eth0"}
        with pytest.raises(ZeroDivisionError):
            lab.call("outside", divmod, 1, 0)
        assert Path("/proc/thread-self/ns/net").readlink() == before


def test_programs_run_inside() -> None:
    """Programs see their namespace, and one that fails raises."""
    with Lab() as lab:
        lab.container("web")
        assert HOST in lab.run("host", ["ip", "address"])
        assert HOST not in lab.run("web", ["ip", "address"])
        with pytest.raises(subprocess.CalledProcessError):
            lab.run("web", ["false"])


def test_outside_sends_for_private_ranges_through_the_host() -> None:
    """The outside world's route to a container's address leads to the host, for both families."""
    with Lab() as lab:
        assert f"via {HOST} " in lab.run("outside", ["ip", "route", "get", "10.0.42.2"])
        assert f"via {HOST6} " in lab.run("outside", ["ip", "route", "get", "fd42::2"])


def test_nothing_is_left() -> None:
    """After a lab, also one that ended in an error, no namespace, thread or process of it remains."""
    threads = threading.active_count()
    with suppress(ZeroDivisionError), Lab() as lab:
        path = Path(lab.container("web"))
        assert path.exists()
        lab.echo_server("web", "udp", 7)
        program = lab.popen("web", ["sleep", "60"])
        raise ZeroDivisionError
    assert program.returncode == -15
    assert threading.active_count() == threads
    assert not list(path.parent.glob(path.name.removesuffix("web") + "*"))


def test_a_removed_container_is_gone() -> None:
    """Removing a container removes its path; other labs and the rest of this one stay."""
    with Lab() as lab, Lab() as other:
        path = Path(lab.container("web"))
        lab.remove("web")
        assert not path.exists()
        assert Path(lab.path("host")).exists()
        assert Path(other.path("host")).exists()
