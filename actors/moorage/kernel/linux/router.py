"""Forwarding switched on for the whole host, with as little else of it changed as can be.

The switch of IPv4 is every link's, and has to be: the kernel forwards what comes in by links that have it on. Whose
packets go on is decided by the rules. The switch of IPv6 is every link's as well, and the default of links to come,
but forwarding looks at `all` alone; that of a link says whether the host is a router there, which does not listen to
router advertisements. So they stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from socket import AF_INET6

from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.sysctl import Sysctls, read
from moorage.model.forwarding import SWITCHES, link_sysctls

_DEFAULT6 = "net/ipv6/conf/default/forwarding"
_REDIRECTS = "net/ipv4/conf/all/accept_redirects"
_ACCEPT_RA = "accept_ra"
_ADVERTISED = 9  # RTPROT_RA of linux/rtnetlink.h


class Router:
    """Switches forwarding on, and puts it back."""

    def __init__(self, reader: Reader, sysctls: Sysctls) -> None:
        self._reader = reader
        self._sysctls = sysctls

    def ensure(self, *, ipv6: bool) -> list[str]:
        """Have the host forward IPv4, and IPv6 if asked; returns a sentence a change. Raises Refused (denied)."""
        return [*self._ensure4(), *(self._ensure6() if ipv6 else ())]

    def restore(self, former: Mapping[str, str]) -> None:
        """Put former values back: the switches first, since each is every link's. Raises Refused (denied)."""
        first = [path for path in SWITCHES.values() if path in former]
        with self._listening():
            self._sysctls.restore({path: former[path] for path in [*first, *former]})

    def _ensure4(self) -> list[str]:
        self._note("ipv4")
        return self._sysctls.ensure(SWITCHES["ipv4"], "1")

    def _ensure6(self) -> list[str]:
        switch = SWITCHES["ipv6"]
        self._note("ipv6")
        done = self._sysctls.ensure(switch, "1", how=self._switch_on6)
        former = self._sysctls.former
        if switch in former:
            # somebody who switches it on once more switches it on for every link
            links = partial(self._keep_links)
            done += self._sysctls.ensure(_DEFAULT6, former.get(_DEFAULT6, "0"), ours=True, how=links)
            self._give_back_listening()
        return done

    def _note(self, family: str) -> None:
        """Remember, before the first change, what switching it off again would not give back."""
        switch = SWITCHES[family]
        if read(switch) in {None, "1"} or switch in self._sysctls.former:
            return
        names = ["default", *(link.name for link in self._reader.links())]
        paths = [path for name in names for path in link_sysctls(family, name)]
        kept = [path for path in paths if read(path) == "1"]
        if family == "ipv4" and read(_REDIRECTS) == "0":
            kept.append(_REDIRECTS)
        for path in kept:
            self._sysctls.remember(path)

    def _switch_on6(self, path: str, value: str) -> None:
        with self._listening():
            self._sysctls.write(path, value)
            self._keep_links(_DEFAULT6, self._sysctls.former.get(_DEFAULT6, "0"))

    def _keep_links(self, default: str, value: str) -> None:
        """Have every link be what it was, a router or not: first those to come, so that none slips through."""
        self._sysctls.write(default, value)
        for link in self._reader.links():
            path = f"net/ipv6/conf/{link.name}/forwarding"
            if path not in self._sysctls.former and read(path) == "1":
                self._sysctls.write(path, "0")

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Keep the default routes that routers advertised: where a link becomes a router, the kernel drops those of all
        links whose accept_ra is not 2.
        """
        paths = [path for path in self._advertised() if read(path) not in {None, "2"}]
        for path in paths:
            self._sysctls.remember(path)
            self._sysctls.write(path, "2")
        try:
            yield
        finally:
            self._give_back_listening()

    def _advertised(self) -> list[str]:
        """The `accept_ra` of each link with a default route that its routers advertised."""
        names = {link.ifindex: link.name for link in self._reader.links()}
        learned = [route for route in self._reader.routes(AF_INET6) if route.protocol == _ADVERTISED]
        found = {hop.ifindex for route in learned if route.subnet == "::/0" for hop in route.hops}
        return [f"net/ipv6/conf/{names[index]}/{_ACCEPT_RA}" for index in sorted(found) if index in names]

    def _give_back_listening(self) -> None:
        """Put `accept_ra` back: that of `_listening`, also of one that was killed in there."""
        changed = [path for path in self._sysctls.former if path.endswith(f"/{_ACCEPT_RA}")]
        for path in changed:
            self._sysctls.restore({path: self._sysctls.former[path]})
            self._sysctls.forget(path)
