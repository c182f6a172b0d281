"""What one client was told, and whether each answer follows from those before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moorage import parse_port_spec
from moorage.control.ports import Published, missing
from moorage.model.port_spec import PortSpec
from moorage.values import ANY, Interface, Mapping, Released

Params = dict[str, Any]


class Violation(AssertionError):
    """A promise was broken."""


def require(condition: object, text: str) -> None:
    """Raise Violation with that text unless it is so."""
    if not condition:
        raise Violation(text)


class Told:
    """The interfaces of one client, whose ids no other client uses, as the last answers gave them."""

    def __init__(self) -> None:
        """Begin with none."""
        self.interfaces: dict[str, Interface] = {}

    def hear(self, method: str, params: Params, answer: Any) -> None:
        """Take an answer. Raises Violation when it does not follow from what was told before."""
        if method == "release":
            known = self.interfaces.pop(params["id"], None)
            require(answer.released == (known is not None), f"release of {known} gave {answer}")
            return
        before = self.interfaces.get(answer.id)
        require("id" not in params or answer.id == params["id"], f"{params} gave {answer}")
        self._compare(method, params, before, answer)
        self.interfaces[answer.id] = answer

    def find(self, method: str, params: Params, found: Interface | None) -> None:
        """Take what there is after a request whose answer was missed: done wholly, or not at all. Raises Violation."""
        before = self.interfaces.get(params["id"])
        if found == before:
            return
        require((found is None) == (method == "release"), f"{method} {params} made {before} into {found}")
        self.hear(method, params, Released(True) if found is None else found)

    def differs(self, params: Params) -> bool:
        """Whether one of the fixed ports asked for is published with another source."""
        known = self.interfaces.get(params.get("id", ""))
        specs = [parse_port_spec(each) for each in params.get("ports", ())]
        return known is not None and any(
            spec.host_port and _names(spec, mapping) and mapping.source != params.get("source", "gateway")
            for spec in specs
            for mapping in known.ports
        )

    def _compare(self, method: str, params: Params, before: Interface | None, after: Interface) -> None:
        specs = [parse_port_spec(each) for each in params.get("ports", ())]
        old = () if before is None else before.ports
        text = f"{method} {params} made {before} into {after}"
        if method == "unpublish":
            expected = [m for m in old if specs and not any(_names(spec, m) for spec in specs)]
            require(list(after.ports) == expected, text)
        else:
            _check_added(specs, params.get("source", "gateway"), old, after.ports, text)
        kept = before is None or (before.ip, before.mac, before.network) == (
            after.ip,
            after.mac,
            after.network,
        )
        require(kept, text)
        if method in {"attach", "detach"}:
            require((after.netns is None) == (method == "detach") and after.ports == old, text)


def _check_added(
    specs: Sequence[PortSpec], source: str, old: Sequence[Mapping], new: Sequence[Mapping], text: str
) -> None:
    """What was there is there still, and what is new is what the specs ask for."""
    require(list(new[: len(old)]) == list(old), text)
    added = [_dual(mapping) for mapping in new[len(old) :]]
    fixed = [
        spec for spec in specs if spec.host_port and not missing([spec], [_dual(m) for m in old], source)
    ]
    wanted = [spec for spec in specs if spec not in fixed]
    require(len(added) == len(wanted) and not missing(wanted, added, source), text)


def _names(spec: PortSpec, mapping: Mapping) -> bool:
    return bool(Published([_dual(mapping)]).named(spec))


def _dual(mapping: Mapping) -> Mapping:
    """The mapping as it is recorded: nobody here asks for 0.0.0.0 alone, which the wire writes like any."""
    return replace(mapping, dual=mapping.host_ip == ANY)
