"""The parameters of every method, as a table, and the one function that holds a request to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from moorage.errors import Code, Refused
from moorage.rpc import checks
from moorage.rpc.checks import Check
from moorage.rpc.codec import BadMap
from moorage.values import GATEWAY, GUARDS, PROXIES, PROXY_V2, TRANSPARENT

EVENTS: Final = (
    "network_created",
    "network_removed",
    "interface_allocated",
    "interface_attached",
    "interface_detached",
    "interface_released",
    "interface_collected",
    "mapping_published",
    "mapping_unpublished",
    "actor_restarted",
    "repaired",
)
"""Every event there is."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The keys of one method's map."""

    required: Mapping[str, Check] = field(default_factory=dict)
    optional: Mapping[str, Check] = field(default_factory=dict)

    @property
    def checks(self) -> dict[str, Check]:
        """All keys with their checks."""
        return {**self.required, **self.optional}


_ID: Final[Mapping[str, Check]] = {"id": checks.interface_id}
_NAME: Final[Mapping[str, Check]] = {"name": checks.network_name}
_SOURCE: Final = checks.one_of((GATEWAY, PROXY_V2), unsaid=(TRANSPARENT,))
_REQUEST: Final[Mapping[str, Check]] = {"request": checks.request}

CHANGING: Final = frozenset(
    {
        *("allocate", "attach", "detach", "publish", "unpublish", "release"),
        *("create_network", "remove_network"),
    }
)
"""Methods that change something, which takes milliseconds each."""

LARGE: Final = frozenset({"list", "networks", "status", "tree"})
"""Methods that look at everything there is."""

METHODS: Final[Mapping[str, Parameters]] = {
    "hello": Parameters(),
    "allocate": Parameters(
        optional={
            **_ID,
            "network": checks.network_name,
            "ip": checks.ipv4,
            "ipv6": checks.ipv6,
            "mac": checks.mac,
            "netns": checks.netns,
            "ifname": checks.link_name,
            "ports": checks.port_specs,
            "source": _SOURCE,
            "labels": checks.labels,
            **_REQUEST,
        }
    ),
    "attach": Parameters({**_ID, "netns": checks.netns}, {"ifname": checks.link_name, **_REQUEST}),
    "detach": Parameters(_ID, _REQUEST),
    "publish": Parameters({**_ID, "ports": checks.port_specs}, {"source": _SOURCE, **_REQUEST}),
    "unpublish": Parameters(_ID, {"ports": checks.port_specs, **_REQUEST}),
    "release": Parameters(_ID, _REQUEST),
    "inspect": Parameters(_ID),
    "list": Parameters(optional={"network": checks.network_name}),
    "create_network": Parameters(
        _NAME,
        {
            "subnet": checks.subnet4,
            "gateway": checks.ipv4,
            "subnet6": checks.subnet6,
            "gateway6": checks.ipv6,
            "bridge": checks.link_name,
            "internal": checks.flag,
            "mtu": checks.mtu,
            "proxy": checks.one_of(PROXIES),
            "guard": checks.one_of(GUARDS),
            **_REQUEST,
        },
    ),
    "remove_network": Parameters(_NAME, _REQUEST),
    "networks": Parameters(),
    "tree": Parameters(),
    "status": Parameters(),
    "subscribe": Parameters(optional={"events": checks.names_of(EVENTS)}),
    "why": Parameters({"port": checks.port}),
    "crash": Parameters({"actor": checks.text}),
}


def check(method: str, params: list[Any]) -> dict[str, Any]:
    """Return the parameters of a request, in canonical form: addresses, subnets and MACs are spelled one way.

    Raises Refused: unsupported for an unknown method, invalid (naming the key) or limit for its parameters.
    """
    if method not in METHODS:
        raise Refused(Code.UNSUPPORTED, f"there is no method {method[:80]!r}; there are {', '.join(METHODS)}")
    try:
        checked = _checked(METHODS[method], _one_map(params))
        _check_together(checked)
    except Refused as refused:
        raise Refused(refused.code, f"{method}: {refused.text}") from None
    return checked


def _one_map(params: list[Any]) -> dict[Any, Any]:
    match params:
        case []:
            return {}
        case [dict(given)]:
            return given
        case [BadMap(reason)]:
            raise Refused(Code.INVALID, f"{reason}; each parameter is named once, by a string")
    raise Refused(Code.INVALID, "the parameters must be an array that is empty or holds one map")


def _checked(parameters: Parameters, given: dict[Any, Any]) -> dict[str, Any]:
    known = parameters.checks
    for key in given:
        if key not in known:
            raise Refused(Code.INVALID, f"{key!r:.80} is not among its parameters: {_listed(known)}")
    for key in parameters.required:
        if key not in given:
            raise Refused(Code.INVALID, f"the parameter {key!r} is missing")
    return {key: known[key](key, value) for key, value in given.items()}


def _listed(known: Mapping[str, Check]) -> str:
    return ", ".join(known) or "it takes none"


def _check_together(checked: dict[str, Any]) -> None:
    for gateway, subnet in (("gateway", "subnet"), ("gateway6", "subnet6")):
        if gateway in checked and subnet not in checked:
            raise Refused(Code.INVALID, f"{gateway} is {checked[gateway]} without the {subnet} it is in")
    if "ifname" in checked and "netns" not in checked:
        raise Refused(
            Code.INVALID, f"ifname is {checked['ifname']!r} without the netns it would be a name in"
        )
    if "subnet6" in checked and checked.get("mtu", checks.MTU_MAX) < checks.MTU6_MIN:
        raise Refused(Code.INVALID, f"mtu is {checked['mtu']}, and IPv6 needs {checks.MTU6_MIN} at least")
