"""Names, paths and files that want to reach where they must not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agents import AgentProcess
from contract.wire import Wire
from lab import Lab
from system.test_down import traces

pytestmark = pytest.mark.system

BAD = [
    *("../../etc/passwd", "/etc/passwd", "..", "a\0b", "a\nb", "x" * 4096),
    *("$(touch /run/pwned);`id`|&\n'\"", "eth%d", "\u202ea", ""),
]
KEYS = {
    "id": "inspect",
    "netns": "allocate",
    "ifname": "allocate",
    "network": "allocate",
    "name": "create_network",
    "bridge": "create_network",
    "actor": "crash",
    "port": "why",
}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent on a real kernel."""
    with Lab() as lab, AgentProcess(lab, tmp_path_factory.mktemp("hostile")) as agent:
        yield agent


@pytest.mark.parametrize("key", KEYS)
def test_bad_names_are_refused(agent: AgentProcess, key: str) -> None:
    """A name that is none, in whichever parameter, is refused with a sentence, and nothing is made of it."""
    before = traces(agent.lab)
    more = {"bridge": {"name": "net"}, "ifname": {"id": "web", "netns": "none"}}.get(key, {})
    with Wire(agent.socket) as wire:
        for bad in BAD:
            refused = wire.refused(KEYS[key], **more, **{key: bad})
            assert refused.partition(":")[0] in {"invalid", "not_found", "limit"}, (bad, refused)
    assert traces(agent.lab) == before
    assert agent.client.list() == []
    assert not Path("/run/pwned").exists()


def test_long_names_find_short_links(agent: AgentProcess) -> None:
    """A network's name longer than a link's may be is taken, and its bridge is called something that fits."""
    name = "x" * 63
    made = agent.client.create_network(name)
    assert len(made.bridge) <= 15
    assert made.bridge in agent.lab.run("host", ["ip", "link"])
    agent.client.remove_network(name)


@pytest.mark.parametrize("what", ["socket", "lock", "moorage.db", "ballast", "handover", "rebuilding"])
def test_links_lead_to_no_victim(agent: AgentProcess, tmp_path: Path, what: str) -> None:
    """An agent whose socket, lock or state was replaced by a link changes nothing behind it, and says so or serves."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    other = AgentProcess(agent.lab, tmp_path, kernel="memory", inside="outside")
    other.state.mkdir(mode=0o700)
    path = {"socket": other.socket, "lock": tmp_path / ".agent.sock.lock"}.get(what, other.state / what)
    path.symlink_to(victim if what == "rebuilding" else victim / "file")
    before = (victim / "file").stat()
    with suppress(AssertionError), other:  # refused, or served all the same
        assert other.client.hello()
    assert (victim / "file").read_text() == "mine"
    after = (victim / "file").stat()
    assert (before.st_mode, before.st_uid, before.st_mtime_ns) == (
        after.st_mode,
        after.st_uid,
        after.st_mtime_ns,
    )
    assert [each.name for each in victim.iterdir()] == ["file"]


def test_socket_replaced_while_it_runs(agent: AgentProcess, tmp_path: Path) -> None:
    """What somebody put in the place of the socket stays there when the agent ends, and victims behind it too."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    with AgentProcess(agent.lab, tmp_path, kernel="memory", inside="outside") as other:
        other.socket.unlink()
        other.socket.symlink_to(victim)
        assert other.terminate() == 0
    assert other.socket.is_symlink()
    assert victim.read_text() == "mine"
