"""On which links a link-local address is."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.proxy import scopes
from moorage.proxy.scopes import AddressNews, is_there, links_with

pytestmark = pytest.mark.system

ADDRESS = "fe80::5:5"


LO = socket.if_nametoindex("lo")


def address(verb: str) -> None:
    """Give loopback the address, or take it away."""
    argv = ["ip", "address", verb, f"{ADDRESS}/64", "dev", "lo", *["nodad"] * (verb != "del")]
    subprocess.run(argv, check=True)


@pytest.fixture
def _away() -> Iterator[None]:
    """Loopback has the address no longer after the test."""
    yield
    subprocess.run(["ip", "address", "flush", "dev", "lo", "to", ADDRESS], check=True)


@pytest.mark.usefixtures("_away")
def test_links_with_an_address() -> None:
    """A link is named by its number while it has the address, however that is written."""
    assert links_with(ADDRESS) == []
    address("add")
    assert links_with("FE80:0::0005:5") == [LO]
    address("del")
    assert links_with(ADDRESS) == []


def test_an_address_that_cannot_be_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is tentative, or that another host has, is on no link yet; an optimistic one is."""
    digits = "fe80" + "0" * 20 + "00050005"
    lines = [
        f"{digits} {n:02x} 40 20 {flags:02x}     eth{n}"
        for n, flags in enumerate((0x80, 0xC0, 0x48, 0x44, 0x88))
    ]
    table = tmp_path / "if_inet6"
    table.write_text("\n".join([*lines, f"{'0' * 31}1 01 80 10 80       lo more fields", ""]))
    monkeypatch.setattr(scopes, "_ADDRESSES", table)
    assert links_with(ADDRESS) == [0, 3]
    assert links_with("::1") == [1]


def test_a_host_without_ipv6(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No link has an address of it."""
    monkeypatch.setattr(scopes, "_ADDRESSES", tmp_path / "none")
    assert links_with(ADDRESS) == []


def test_whether_a_link_is_there() -> None:
    """A number is a link's or not."""
    assert is_there(socket.if_nametoindex("lo"))
    assert not is_there(2**31 - 1)


@pytest.mark.usefixtures("_away")
def test_news() -> None:
    """Who listens is told once of a burst, of another's address never, and nothing once nobody listens."""

    async def run() -> None:
        news, told, others = AddressNews(asyncio.get_running_loop()), asyncio.Queue[list[int]](), []

        def tell() -> None:
            told.put_nowait(links_with(ADDRESS))

        def tell_other() -> None:
            others.append(None)

        before = descriptors()
        news.listen(ADDRESS, tell)
        news.listen("fe80::5:6", tell_other)
        address("add")
        address("del")
        address("add")
        assert await asyncio.wait_for(told.get(), 10) == [LO]
        address("del")
        assert await asyncio.wait_for(told.get(), 10) == []
        assert (told.empty(), others) == (True, [])
        news.leave(tell)
        assert descriptors() == before + 1
        news.leave(tell_other)
        news.leave(tell_other)
        assert descriptors() == before

    asyncio.run(run())


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_descriptor_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants to listen is told so, and may try again."""

    async def run() -> None:
        news = AddressNews(asyncio.get_running_loop())
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", refuse)
            with pytest.raises(OSError, match="too many"):
                news.listen(ADDRESS, descriptors)
        news.listen(ADDRESS, descriptors)
        news.leave(descriptors)

    asyncio.run(run())


def refuse(*_: object) -> None:
    raise OSError(24, "too many open files")
