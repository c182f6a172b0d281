"""The nftables table of one network namespace, kept by the one thread that opened it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial

from moorage.errors import Code, Refused
from moorage.kernel.linux import (
    audit,
    definitions,
    element_messages,
    elements,
    generation,
    local,
    lookups,
    paths,
    reserved,
    ruleset,
)
from moorage.kernel.linux.bounds import bounded
from moorage.kernel.linux.connect.hook import ConnectHook, remove_former
from moorage.kernel.linux.conntrack import Conntrack
from moorage.kernel.linux.definitions import Listing
from moorage.kernel.linux.forward import Forwarding
from moorage.kernel.linux.guard import UNGUARDED, PortGuard, holds
from moorage.kernel.linux.masquerading import Masquerading, Socket, shadowed, sockets_of
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import FORBIDDEN, Nftables, NftablesError, TooLongError
from moorage.kernel.linux.policy.marking import Marking
from moorage.kernel.linux.policy.routing import PolicyRouting
from moorage.kernel.linux.sweeper import Moves, Sweeper, Walk
from moorage.kernel.protocol import NOBODY, Element, Flow, Forwarded, Kept, Maker
from moorage.model.elements import astray, is_published
from moorage.model.overdrawn import Overdrawn
from moorage.model.share import FLOWS, Share
from moorage.threads import Lost

Key = tuple[str, tuple[str | int, ...]]
Elements = Collection[Element]

_SHARE = "share"
"""The set whose element says for how many connections of each interface what is there was counted."""
_AGENT = "agent"
"""The set whose element says whose sockets may begin something from a published port."""
_ROUNDS = 5
"""How often datagrams are looked for that a proxy carries in the place of rules; the second look found none."""
_LOOPBACK = Element("proxied4", ("127.0.0.0/8",))


@bounded
class LinuxFirewall:
    """`moorage.kernel.protocol.Firewall` on nftables and conntrack.

    It remembers the elements it wrote, so that a change needs no look at the table; where the kernel
    disagrees, the table is read and put right with the change in it.
    """

    def __init__(self, *, loopback: str, maker: Maker = NOBODY, flows: int = FLOWS) -> None:
        """Open sockets in the calling thread. Raises Refused (unsupported, denied)."""
        self._looks_up = True  # until the kernel has refused to say whether a map has a key
        self._own = frozenset({_LOOPBACK} if loopback == "proxy" else ()) | elements.signature(maker.id)
        self._own |= {Element(_SHARE, (flows,)), Element(_AGENT, (os.geteuid(),))}
        self._share = Share.of(flows)
        self._overdrawn = Overdrawn()
        self._nftables = Nftables()
        self._netlink = _open()
        self._conntrack = Conntrack(self._netlink)
        self._forwarding = Forwarding(self._netlink, self._transact)
        self._guard = PortGuard(self._netlink, self._run)
        self._routing = PolicyRouting(Marking(partial(self._nftables.list, elements=True), self._transact))
        self._elements: dict[Key, Element] = {}
        self._masquerading = Masquerading()
        self._spread: frozenset[Element] = frozenset()
        self._masquerades6 = False  # whether it ever did, in this life or before
        self._sweeper: Sweeper | None = None
        self._moves = Moves()
        self._leaving: set[str] = set()
        self._clean: set[str] = set()
        self._used: set[str] = set()
        self._began: frozenset[str] | None = None  # until somebody has looked
        self._reference: Listing | None = None
        self._generation = -1
        self._reserved = reserved.text()
        self._watchers: list[generation.Watcher] = []
        self._news: local.News | None = None
        self._hook: ConnectHook | None = None
        self._local = local.read()
        self._changes = local.Changes()  # that could not be followed yet
        self._came: frozenset[tuple[int, int]] = frozenset()  # programs that listen, likewise
        with self._closing():
            self._news = local.News()
            self._hook = _open_hook(loopback)

    def install(self, elements: Collection[Element]) -> list[str]:
        """See `Firewall.install`. Raises Refused (denied, unsupported)."""
        given = frozenset(filter(self._takes, elements)) | self._own
        guarding = frozenset(filter(holds, given))
        self._generation = generation.read(self._netlink)
        guarded = self._guard.install(guarding)
        before, present = self._look()
        self._masquerading.adopt(present)
        self._masquerades6 |= before is None or _masquerades6(present) or _masquerades6(given)
        self._spread = self._masquerading.elements()
        wanted = (given - guarding) | self._spread
        self._repair(before, wanted, present)
        if any(element.container == _SHARE and element not in wanted for element in present):
            # who is counted there goes on with the former number
            self._run([f"flush set {ruleset.TABLE} {each}\n" for each in ("began", "opened")])
        self.flush_flows(astray(present, wanted))
        after = before if before is not None and before == self._reference else self._look()[0]
        self._reference = after
        self._elements = {_key(element): element for element in given}
        led = self._hook.install(wanted) if self._hook else []
        return audit.sentences(before, after or {}, wanted, present) + guarded + led

    def change(self, add: Collection[Element], remove: Collection[Element]) -> None:
        """See `Firewall.change`. Raises Refused (denied, unsupported)."""
        touched: dict[Key, Element | None] = {_key(element): None for element in remove}
        touched |= {_key(element): element for element in add if self._takes(element)}
        held = {key: self._elements.get(key) for key in touched}
        gone = [old for key, old in held.items() if old is not None and old != touched[key]]
        new = [element for key, element in touched.items() if element is not None and element != held[key]]
        self._masquerades6 |= _masquerades6(new)
        if self._hook:
            self._hook.remove(gone)
        try:
            self._put(new, gone)
        except NftablesError:
            self.install((set(self._elements.values()) | set(new)) - set(gone))
        for element in gone:
            self._elements.pop(_key(element), None)
        self._elements.update((_key(element), element) for element in new)
        if self._hook:
            self._hook.add(new)

    def changed(self) -> bool:
        """See `Firewall.changed`: 20 µs, and the policies of legacy iptables count as well."""
        known, self._generation = self._generation, generation.read(self._netlink)
        listed, self._reserved = self._reserved, reserved.text()
        differs = (known, listed) != (self._generation, self._reserved)
        return self._forwarding.legacy_changed() or differs or self._routing.changed() or self._detached()

    def flush_flows(self, flows: Collection[Flow]) -> bool:
        """See `Firewall.flush_flows`. Raises Refused (denied)."""
        later = self._walk(lambda conntrack: conntrack.flush(flows)) if flows else None
        if self._hook:
            self._hook.end(flows)
        return later is not None

    def end_begun(self, flows: Collection[Flow]) -> bool:
        """See `Firewall.end_begun`. Raises Refused (denied)."""
        return bool(flows) and self._walk(lambda conntrack: conntrack.end_begun(flows)) is not None

    def reclaim(
        self, flows: Collection[Flow], forget: Callable[[], object] | None = None, *, wait: bool = True
    ) -> Future[None] | None:
        """See `Firewall.reclaim`. Raises Refused (denied)."""

        def walk(conntrack: Conntrack) -> None:
            for _ in range(_ROUNDS if forget else 1):
                if forget:
                    forget()
                if not conntrack.reclaim(flows) or conntrack.stopped:
                    break

        if not flows:
            return None
        return self._walk(walk) if wait or self._sweeper is None else self._sweeper.put(walk)

    def end_flows(self, gone: Collection[str], come: Collection[str]) -> None:
        """See `Firewall.end_flows`. Raises Refused (denied)."""
        if gone:
            self._leaving.update(gone)
            self._walk(self._end_leaving)
        dirty = frozenset(filter(self._may_have_flows, come))
        self._leaving.difference_update(come)
        self._clean.difference_update(come)
        self._used.update(come)
        self._conntrack.end_flows(dirty)
        with suppress(OSError):  # a host whose sysctls are not ours to write forgets in ten minutes
            paths.forget(come)

    def _may_have_flows(self, address: str) -> bool:
        if address in self._leaving:
            return True
        if address in self._clean:
            return False
        return self._began is None or address in self._began or address in self._used

    def _look_who_began(self, conntrack: Conntrack) -> None:
        self._began = conntrack.sources()

    def _end_leaving(self, conntrack: Conntrack) -> None:
        leaving = frozenset(self._leaving)
        conntrack.end_flows(leaving)
        still = leaving & self._leaving  # none that somebody has been given meanwhile
        self._leaving -= still
        self._clean |= still

    def masquerade(self, published: Collection[int], ours: frozenset[int], automatic: range) -> None:
        """See `Firewall.masquerade`."""
        self._masquerading.begin(published, ours, automatic)

    def set_aside(self) -> frozenset[int]:
        """See `Firewall.set_aside`."""
        return self._masquerading.wished()

    def keep_clear(self, add: Collection[tuple[str, int]], remove: Collection[int]) -> None:
        """See `Firewall.keep_clear`. Raises Refused (denied)."""
        if self._masquerading.publish({port for _, port in add}, remove):
            self._respread()
            self._end_masqueraded(sockets_of(add))

    def follow(self) -> None:
        """See `Firewall.follow`. Raises Refused (denied)."""
        self._follow_addresses()
        self._came = came = self._came | self._masquerading.listen()
        self._respread()
        self._end_masqueraded(shadowed(came))
        self._came = frozenset()

    def _end_masqueraded(self, sockets: frozenset[Socket]) -> None:
        if sockets:
            ipv6 = self._masquerades6
            self._walk(lambda conntrack: conntrack.end_masqueraded(sockets, ipv6=ipv6))

    def _walk(self, walk: Walk) -> Future[None] | None:
        """Look through the table of connections; a crowded one is left to the sweeper, who says when it is done."""
        if self._sweeper is not None and self._conntrack.crowded():
            return self._sweeper.put(walk)
        walk(self._conntrack)
        return None

    def _respread(self) -> None:
        before, self._spread = self._spread, self._masquerading.elements()
        try:
            self._put(self._spread - before, before - self._spread)
        except NftablesError:
            self.install(self._elements.values())

    def _follow_addresses(self) -> None:
        if self._news is None:
            return
        self._changes |= self._news.take()
        if not (changes := self._changes):
            return
        now, gone, come = local.read(), changes.gone, changes.come
        if changes.missed:
            gone, come = gone | (self._local - now), come | (now - self._local)
        backends = frozenset(str(each.value[0]) for each in self._elements.values() if is_published(each))
        if self._sweeper is None or not self._conntrack.crowded():
            self._conntrack.follow(gone, come, backends)
        elif self._moves.join(gone, come, backends):
            self._sweeper.put(self._moves.end)
        self._local, self._changes = now, local.Changes()

    def overdrawn(self) -> Overdrawn:
        """See `Firewall.overdrawn`."""
        self._overdrawn = elements.read_overdrawn(self._netlink)
        return self._overdrawn

    def _differs(self) -> bool:
        """Whether there is something to follow, or another interface has begun too much; for any thread."""
        with Netlink() as netlink:
            return elements.read_overdrawn(netlink) != self._overdrawn or self._masquerading.differ()

    def end_strays(self, mapped: Collection[Flow], subnets: Collection[str]) -> None:
        """See `Firewall.end_strays`. Raises Refused (denied)."""
        loopback = _LOOPBACK not in self._own
        self._walk(lambda conntrack: conntrack.end_strays(mapped, subnets, loopback=loopback))
        if self._hook:
            self._hook.end_strays(mapped)

    def keep_forwarding(self, bridges: Collection[Forwarded]) -> Kept:
        """See `Firewall.keep_forwarding`. Raises Refused (denied)."""
        kept = self._forwarding.keep(bridges)
        return (
            kept if self._guard.supported or not bridges else Kept([*kept.warnings, UNGUARDED], kept.repaired)
        )

    def keep_answers(
        self, networks: Collection[tuple[str, str]], remember: Callable[[str, str], None], *, repair: bool
    ) -> Kept:
        """See `Firewall.keep_answers`."""
        return self._routing.keep(networks, remember, repair=repair)

    def read_reserved(self) -> frozenset[int]:
        """See `Firewall.read_reserved`."""
        return reserved.read()

    def write_reserved(self, add: Collection[int], remove: Collection[int]) -> None:
        """See `Firewall.write_reserved`; what others changed before stays to be noticed. Raises Refused (denied)."""
        if reserved.write(add, remove) == self._reserved:
            self._reserved = reserved.text()

    def ephemeral(self) -> range:
        """See `Firewall.ephemeral`."""
        return reserved.ephemeral()

    def watch(self, wake: Callable[[], None], moved: Callable[[], None], lost: Lost) -> None:
        """See `Firewall.watch`; legacy iptables and reserved ports send no event: looked at every second."""
        self._watchers.append(generation.Watcher(wake, moved, self._unheard, self._differs, lost=lost))
        if self._sweeper is None:
            self._sweeper = Sweeper(lost)
            self._sweeper.put(self._look_who_began)

    def remove(self) -> None:
        """See `Firewall.remove`. Raises Refused (denied)."""
        self._forwarding.keep(())
        self._routing.remove()
        if self._hook:
            self._hook.clear()
        self._guard.remove()
        self._run([f"table {ruleset.TABLE}\ndelete table {ruleset.TABLE}\n"])
        self._elements, self._reference = {}, None

    def close(self) -> None:
        """See `Firewall.close`; a second time is no error."""
        while self._watchers:
            self._watchers.pop().close()
        if self._sweeper:
            self._sweeper.close()
            self._sweeper = None
        if self._hook:
            self._hook.close()
        if self._news:
            self._news.close()
        self._routing.close()
        self._netlink.close()
        self._nftables.close()

    def _unheard(self) -> bool:
        if self._forwarding.legacy_differs() or self._routing.differs():
            return True
        return reserved.text() != self._reserved or self._detached()

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """Give back what is open where more cannot be had."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _takes(self, element: Element) -> bool:
        """Whether there is a table for it."""
        return self._guard.supported or not holds(element)

    def _detached(self) -> bool:
        return self._hook is not None and not self._hook.intact()

    def _look(self) -> tuple[Listing | None, set[Element]]:
        listing = definitions.read(self._netlink)
        return listing, set() if listing is None else elements.read(self._netlink)

    def _repair(self, before: Listing | None, wanted: Elements, present: Elements) -> None:
        if before is None or not audit.can_adjust(wanted, present):
            self._rebuild(wanted)
            return
        try:
            if before == self._reference:
                self._run(audit.adjust(wanted, present))
            elif self._only_rules_differ(before):
                self._write(audit.rewrite(self._rules(), wanted, present))
            else:
                self._rebuild(wanted)
        except NftablesError:
            self._rebuild(wanted)  # another version may have used the same names with other types

    def _only_rules_differ(self, before: Listing) -> bool:
        if self._reference is None:
            return audit.complete(before)
        return audit.structure(before) == audit.structure(self._reference)

    def _rebuild(self, wanted: Elements) -> None:
        """Replace all. A kernel that says of no map whether it has a key gets the rules that ask for values."""
        try:
            self._write(audit.rebuild(self._rules(), wanted))
        except NftablesError as error:
            if self._looks_up:
                self._looks_up = False
                with suppress(NftablesError):
                    self._write(audit.rebuild(self._rules(), wanted))
                    return
                self._looks_up = True
            text = f"the kernel did not take the nftables table {ruleset.TABLE}, nothing was changed: {error}"
            raise Refused(Code.UNSUPPORTED, text) from error

    def _rules(self) -> str:
        rules = ruleset.shared(ruleset.rules(), self._share)
        return rules if self._looks_up else lookups.without(rules)

    def _write(self, commands: Sequence[str]) -> None:
        """Run commands that write all rules anew."""
        self._run(commands)
        if not self._looks_up:
            lookups.append(self._netlink)
            self._know_generation()

    def _run(self, commands: Sequence[str]) -> None:
        """Run one transaction; only where the kernel takes no message so long, one for each command."""
        if not commands:
            return
        try:
            self._transact("".join(commands))
        except TooLongError:
            if len(commands) == 1:
                raise
            for command in commands:
                self._transact(command)

    def _put(self, add: Elements, remove: Elements) -> None:
        """Change elements, by a few messages where the kernel takes them at once."""
        try:
            if element_messages.write(self._netlink, add, remove):
                self._know_generation()
        except TooLongError:
            self._run(ruleset.change(add, remove))

    def _transact(self, commands: str) -> None:
        """Run a transaction; where it is the only one since we last looked, the generation stays known."""
        self._nftables.run(commands)
        self._know_generation()

    def _know_generation(self) -> None:
        now = generation.read(self._netlink)
        if (now - self._generation) % (1 << 32) <= 1:
            self._generation = now


def _masquerades6(elements: Elements) -> bool:
    return any(element.container == "masq6" for element in elements)


def _key(element: Element) -> Key:
    return element.container, element.key


def _open_hook(loopback: str) -> ConnectHook | None:
    """What leads sockets as they connect, if that is wanted; what a former agent left of it goes if not."""
    if loopback == "connect":
        return ConnectHook()
    remove_former()
    return None


def _open() -> Netlink:
    """A netfilter socket that the kernel answers."""
    netlink: Netlink | None = None
    try:
        netlink = Netlink()
        generation.read(netlink)
    except OSError as error:
        if netlink is not None:
            netlink.close()
        if isinstance(error, PermissionError):
            raise Refused(Code.DENIED, FORBIDDEN) from error
        raise Refused(Code.UNSUPPORTED, f"this kernel has no nftables ({error}): load nf_tables") from error
    return netlink
