"""The store against a dict."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moorage.errors import Refused
from moorage.store import Already, Commit, Done, DropInterface, DropNetwork, PutInterface, PutNetwork
from moorage.values import Interface, Mapping
from store.samples import interface, mapping, network, open_store, request

NETWORKS = {"net": network(), "other": network("other", 43)}
IPS = ("", "0.0.0.0", "::", "127.0.0.1", "127.0.0.2", "::1")  # noqa: S104 - values
mappings = st.builds(
    mapping, st.integers(80, 84), st.sampled_from(IPS), st.integers(1, 3), st.sampled_from(("tcp", "udp"))
)
interfaces = st.builds(
    lambda name, last, net, ipv6, ports: interface(name, last, *ports, net=net, ipv6=ipv6),
    st.sampled_from("abcd"),
    st.integers(2, 4),
    st.sampled_from(("net", "other")),
    st.sampled_from((None, "fd00::2", "fd00::3")),
    st.lists(mappings, max_size=2),
)
operations = (
    interfaces.map(PutInterface)
    | interfaces.map(lambda put: PutInterface(replace(put, ip=f"10.0.42.{10 + ord(put.id)}", ipv6=None)))
    | st.sampled_from("abcd").map(DropInterface)
    | st.sampled_from(("net", "other")).map(DropNetwork)
    | st.sampled_from(("net", "other")).map(lambda name: PutNetwork(NETWORKS[name]))
)
commits = st.builds(
    lambda done, name: Commit(tuple(done), request(name) if name else None, name.encode()),
    st.lists(operations, min_size=1, max_size=3),
    st.sampled_from(("", "r1", "r2", "r3", "r4")),
)


def meet(one: Mapping, other: Mapping) -> bool:
    """Whether two mappings want the same port of the same address."""
    if one.proto != other.proto:
        return False
    if one.host_port + one.count <= other.host_port or other.host_port + other.count <= one.host_port:
        return False
    return bool(reach(one) & reach(other))


def reach(mapping: Mapping) -> set[str]:
    """Which of a few addresses a mapping takes."""
    addresses = {"127.0.0.1", "127.0.0.2", "::1"}
    match mapping.key_ip:
        case "":
            return addresses
        case "0.0.0.0":  # noqa: S104 - a value
            return {address for address in addresses if "." in address}
        case "::":
            return {address for address in addresses if ":" in address}
        case single:
            return {single}


class Model:
    """What the store should know, in the plainest words."""

    def __init__(self) -> None:
        self.networks: set[str] = set()
        self.interfaces: dict[str, Interface] = {}
        self.replies: dict[str, bytes] = {}

    def copy(self) -> Model:
        other = Model()
        other.networks, other.interfaces = set(self.networks), dict(self.interfaces)
        return other

    def apply(self, operation: object) -> bool:
        """Do an operation; False when it has to be refused."""
        match operation:
            case PutInterface(put):
                return self.put(put)
            case DropInterface(name):
                self.interfaces.pop(name, None)
            case PutNetwork(new):
                if new.name in self.networks:
                    return False
                self.networks.add(new.name)
            case DropNetwork(name):
                if any(known.network == name for known in self.interfaces.values()):
                    return False
                self.networks.discard(name)
        return True

    def put(self, put: Interface) -> bool:
        others = [known for known in self.interfaces.values() if known.id != put.id]
        taken = {(known.network, address) for known in others for address in (known.ip, known.ipv6)}
        wanted = {(put.network, address) for address in (put.ip, put.ipv6) if address}
        ports = [known for other in others for known in other.ports]
        collide = any(meet(one, other) for one in put.ports for other in ports)
        within = any(meet(one, other) for i, one in enumerate(put.ports) for other in put.ports[:i])
        macs = {(known.network, known.mac) for known in others}
        if put.network not in self.networks or wanted & taken or collide or within:
            return False
        if (put.network, put.mac) in macs:
            return False
        self.interfaces[put.id] = put
        return True

    def commit(self, commit: Commit) -> type:
        """The kind of outcome that a commit must have."""
        if commit.request and commit.request.request in self.replies:
            return Already
        tried = self.copy()
        if not all(tried.apply(operation) for operation in commit.operations):
            return Refused
        self.networks, self.interfaces = tried.networks, tried.interfaces
        if commit.request:
            self.replies[commit.request.request] = commit.reply
        return Done


class StoreMachine(RuleBasedStateMachine):
    """Batches, restarts and boots, in any order."""

    @initialize()
    def open(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.boot = 0
        self.model = Model()
        self.store = open_store(Path(self.directory.name), "0")
        self.commit([Commit((PutNetwork(each),)) for each in NETWORKS.values()])

    @rule(batch=st.lists(commits, min_size=1, max_size=4))
    def commit(self, batch: list[Commit]) -> None:
        wanted = [self.model.commit(commit) for commit in batch]
        outcomes = self.store.commit(batch)
        for kind, outcome, commit in zip(wanted, outcomes, batch, strict=True):
            assert isinstance(outcome, kind), (commit, outcome)
            if isinstance(outcome, Already):
                assert commit.request is not None
                assert outcome.reply == self.model.replies[commit.request.request]

    @rule(boot=st.sampled_from((False, False, True)))
    def restart(self, boot: bool) -> None:
        self.store.close()
        self.boot += boot
        self.store = open_store(Path(self.directory.name), str(self.boot))
        assert set(self.store.forgotten) == (set(self.model.interfaces) if boot else set())
        if boot:
            self.model.interfaces.clear()

    @invariant()
    def same(self) -> None:
        assert {known.name for known in self.store.networks()} == self.model.networks
        assert {known.id: known for known in self.store.interfaces()} == self.model.interfaces
        for name in ("r1", "r2", "r3", "r4"):
            assert self.store.recall(request(name)) == self.model.replies.get(name)
        self.store.verify()

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=15)


class TestStoreModel(StoreMachine.TestCase):
    """Any order of batches, restarts and boots leaves the store and a dict in agreement."""
