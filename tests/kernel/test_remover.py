"""Links that are gone before the kernel has done with them."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from host_links import NETWORK, HostLinks
from moorage.kernel.linux import remover
from moorage.kernel.linux.names import port_name
from moorage.kernel.linux.remover import Remover

pytestmark = pytest.mark.system


@pytest.fixture
def removes(links: HostLinks) -> Iterator[Remover]:
    links.ensure_network(NETWORK)
    made = Remover()
    yield made
    made.close()


def index_of(links: HostLinks, interface_id: str) -> int:
    return int(links.ip("-o", "link", "show", port_name(interface_id)).split(":")[0])


def eventfds() -> int:
    """How many of this process are open."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found += str(each.readlink()) == "anon_inode:[eventfd]"
    return found


def hold_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let no deletion hear the kernel's answer until what is given back is called."""
    go_on = threading.Event()
    run = remover.rtbatch.run

    def late(*arguments: object) -> list[int]:
        outcomes = run(*arguments)  # type: ignore[arg-type]  # as they came
        go_on.wait(30)
        return outcomes

    monkeypatch.setattr(remover.rtbatch, "run", late)
    return go_on.set


def test_a_link_is_gone_though_the_kernel_has_not_answered(
    links: HostLinks, removes: Remover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends of a pair are gone when `remove` returns, whenever the answer comes; its names are free again."""
    web = links.attached("web", 2)
    index = index_of(links, "web")
    answer = hold_answers(monkeypatch)
    try:
        links.run(removes.remove, index)
        assert port_name("web") not in links.ip("link")
        assert "eth0" not in links.ip("link", inside="web")
    finally:
        answer()
        monkeypatch.undo()
    links.attach(web, NETWORK)
    assert port_name("web") in links.ip("link")


def test_a_link_that_is_not_there_is_no_error(links: HostLinks, removes: Remover) -> None:
    """What is gone already is gone."""
    links.run(removes.remove, 4711)


def test_what_the_kernel_refuses_is_raised(links: HostLinks, removes: Remover) -> None:
    """The loopback link cannot be deleted, and the caller is told."""
    with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
        links.run(removes.remove, 1)


def test_nothing_is_left_of_many(links: HostLinks, removes: Remover) -> None:
    """After `close` there is no thread of any deletion."""
    for last in range(2, 7):
        links.attached(f"web{last}", last)
        links.run(removes.remove, index_of(links, f"web{last}"))
    removes.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("remover-")]


def test_no_descriptor_waits_for_the_next_deletion(links: HostLinks, removes: Remover) -> None:
    """Once the kernel has answered, nothing is open that was not before."""
    links.attached("web", 2)
    index, before = index_of(links, "web"), eventfds()
    links.run(removes.remove, index)
    for thread in [each for each in threading.enumerate() if each.name.startswith("remover-")]:
        thread.join(30)
    assert eventfds() == before


def test_who_waits_hears_of_the_death_of_the_thread(
    links: HostLinks, removes: Remover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that dies, or cannot even be started, is an error for whoever waits; nothing is left of it."""
    links.attached("web", 2)
    index, before = index_of(links, "web"), eventfds()

    def die(*_: object) -> list[int]:
        raise ValueError("not as it should be")

    with monkeypatch.context() as patch:
        patch.setattr(remover.rtbatch, "run", die)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            links.run(removes.remove, index)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _thread: die_of_want())
        with pytest.raises(OSError, match="start new thread"):
            removes.remove(index)
    removes.close()
    assert eventfds() == before


def die_of_want() -> None:
    raise RuntimeError("can't start new thread")
