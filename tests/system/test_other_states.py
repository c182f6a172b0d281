"""Agents that come with another state than the one whose work the kernel holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import AgentProcess
from echo_server import ask
from lab import HOST, Lab, Socket
from moorage.kernel.linux.names import port_name
from system.test_down import traces

pytestmark = pytest.mark.system

SUBNET = "10.0.42.1/24"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host and the world outside it."""
    with Lab() as made:
        yield made


def agent(lab: Lab, directory: Path, **config: object) -> AgentProcess:
    """An agent with a state of its own, which is in `directory`."""
    directory.mkdir(exist_ok=True)
    return AgentProcess(lab, directory, **{"subnet": SUBNET} | config)


def containers(of: AgentProcess) -> Socket:
    """Two networks, two containers with ports; a connection to the first."""
    client, lab = of.client, of.lab
    client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
    client.allocate("web", netns=lab.container("web"), ports=["8080:80", "8200-8299:8200-8299/udp"])
    client.allocate("api", netns=lab.container("api"), network="dual", ports=["[fd77::1]:8091:80"])
    lab.echo_server("web", "tcp", 80)
    kept = lab.open("outside", (HOST, 8080))
    ask(kept)
    return kept


def links(lab: Lab) -> list[str]:
    """Every link of the host, with its index: one that was made anew has another."""
    return [" ".join(line.split()[:2]) for line in lab.run("host", ["ip", "-o", "link"]).splitlines()]


def test_another_state_is_refused(lab: Lab, tmp_path: Path) -> None:
    """An agent whose state knows other things than the living containers' is refused, named whose they are."""
    other = agent(lab, tmp_path / "other", bridge="br9", subnet="10.99.0.1/24")
    with other:
        other.terminate()  # what it made is there, and has no container
    own = agent(lab, tmp_path / "own")
    with own:
        kept = containers(own)
        own.kill()
        before = traces(lab), links(lab)
        refused = other.refusal()
        assert refused.returncode == 1
        assert "exists" in refused.stderr
        assert str(own.state) in refused.stderr
        assert "web" in refused.stderr
        assert (traces(lab), links(lab)) == before
        assert ask(kept).server == "web"
        own.start()
        assert own.client.status().repaired == 0
        assert {each.id for each in own.client.list()} == {"web", "api"}
        assert links(lab) == before[1]


def test_an_empty_state_takes_them_up(lab: Lab, tmp_path: Path) -> None:
    """An empty state takes living containers up, and what was attached since is found by the former one, too."""
    own, new = agent(lab, tmp_path / "own"), agent(lab, tmp_path / "new")
    with own:
        kept = containers(own)
        before = own.client.list()
        networks = own.client.networks()
        own.client.allocate("loose", ports=["8100:80"], labels={"a": "b"})
        own.kill()
        made = links(lab)
        with new:
            assert links(lab) == made
            assert [each["folder"] for each in new.log("state_taken_up")] == [str(own.state)]
            assert new.client.networks() == networks
            attached = [each for each in new.client.list() if each.netns]
            assert [(e.id, e.ip, e.ipv6, e.mac, e.netns, e.ports) for e in attached] == [
                (e.id, e.ip, e.ipv6, e.mac, e.netns, e.ports) for e in before
            ]
            assert ask(kept).server == "web"
            new.client.release("api")
            new.client.create_network("late", subnet="10.0.44.0/24")
            new.client.allocate("api", netns=lab.container("api2"), network="late", ports=["8300:80"])
            new.client.allocate("late", netns=lab.container("late"), ports=["8301:80"])
            lab.echo_server("late", "tcp", 80)
            late = lab.open("outside", (HOST, 8301))
            ask(late)
            new.terminate()
        own.start()
        assert ask(late).server == "late"
        assert ask(kept).server == "web"
        found = {each.id: each for each in own.client.list()}
        assert set(found) == {"web", "api", "loose", "late"}
        assert found["api"].network == "late"
        assert found["api"].netns == lab.path("api2")
        assert found["loose"].labels == {"a": "b"}
        assert lab.connect("outside", (HOST, 8301)).server == "late"


def test_a_copy_of_an_older_day(lab: Lab, tmp_path: Path) -> None:
    """A state that was put back from a copy costs nobody that was attached since its network."""
    with agent(lab, tmp_path / "own") as own:
        own.client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
        own.client.allocate("gone", netns=lab.container("gone"), ports=["8081:80"])
        own.terminate()
        shutil.copytree(own.state, tmp_path / "copy")
        own.start()
        own.client.release("gone")
        late = own.client.allocate("late", netns=lab.container("late"), ports=["8081:80"], ip="10.0.42.3")
        own.terminate()
        shutil.rmtree(own.state)
        (tmp_path / "copy").rename(own.state)
        made = links(lab)
        own.start()
        assert {each.id for each in own.client.list()} == {"web", "late"}
        assert own.client.inspect("late").ports == late.ports
        assert links(lab) == made


def test_a_release_that_was_cut_short_is_finished(lab: Lab, tmp_path: Path) -> None:
    """What this state let go of is not taken up again, though its link is still there."""
    with agent(lab, tmp_path / "own") as own:
        own.client.allocate("web", netns=lab.container("web"))
        own.terminate()
        shutil.copytree(own.state, tmp_path / "before")
        own.start()
        own.client.release("web")
        own.terminate()
        # links as they were before the release, the state as it is after
        own.state.rename(tmp_path / "after")
        (tmp_path / "before").rename(own.state)
        own.start()
        own.kill()
        assert port_name("web") in lab.run("host", ["ip", "link"])
        shutil.rmtree(own.state)
        (tmp_path / "after").rename(own.state)
        own.start()
        assert own.client.list() == []
        assert port_name("web") not in lab.run("host", ["ip", "link"])


def test_down_leaves_what_another_state_claims(lab: Lab, tmp_path: Path) -> None:
    """`--down` removes what its own state made, not what another one's is; and that no state claims."""
    before = traces(lab)
    own, other = agent(lab, tmp_path / "own"), agent(lab, tmp_path / "other")
    with own:
        kept = containers(own)
        own.terminate()
    theirs = traces(lab), links(lab)
    assert other.down().returncode == 0
    assert (traces(lab), links(lab)) == theirs
    assert ask(kept).server == "web"
    shutil.rmtree(own.state)
    assert other.down().returncode == 0
    assert traces(lab)[:2] == before[:2]
    assert traces(lab)[3] == before[3]


def test_no_bridge_of_ours_looks_adopted(lab: Lab, tmp_path: Path) -> None:
    """A bridge that another state left without containers is one's own once it is asked for, and goes with `--down`."""
    before = traces(lab)
    own, other = agent(lab, tmp_path / "own"), agent(lab, tmp_path / "other", subnet="10.0.50.1/24")
    with own:
        own.client.create_network("dual", subnet="10.0.43.0/24")
        own.terminate()
    with other:
        assert "10.0.42.1" not in lab.run("host", ["ip", "address", "show", "moorage0"])
        other.client.create_network("back", bridge="mg-dual", subnet="10.0.51.0/24")
        assert "10.0.43.1" not in lab.run("host", ["ip", "address", "show", "mg-dual"])
        other.terminate()
    assert other.down().returncode == 0
    assert own.down().returncode == 0
    assert traces(lab)[:2] == before[:2]
    assert traces(lab)[3] == before[3]
