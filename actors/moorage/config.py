"""The agent's configuration: its keys, their defaults, and where things are when nothing is said."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from moorage.errors import Code, Refused
from moorage.model.share import FLOWS
from moorage.model.subnets import parse_subnet
from moorage.places import default_socket, default_state
from moorage.rpc import checks
from moorage.values import ALWAYS, PROXIES

KERNELS: Final = ("linux", "memory")
LOOPBACKS: Final = ("kernel", "connect", "proxy")
LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
ID_MAX: Final = 2**32 - 2
FLOWS_MAX: Final = 2**24
"""More than any kernel has room for: 5 GB of connections."""
"""uid_t and gid_t have 32 bits, and -1 means "no one" to the kernel."""


@dataclass(frozen=True)
class Config:
    """What an agent is told. Making one with a wrong value raises Refused (invalid), naming the key.

    `subnet` (None: a free one), `proxy` and `mtu` (bytes; None: as the link that leads out) are the default network's,
    `flows` is how many connections an interface may have begun, `quarantine` the seconds for which an address rests
    after use, `drain` those for which a replaced agent carries its connections on.
    The file `config/moorage.toml` says what each key does.
    """

    kernel: str = "linux"
    state: str | os.PathLike[str] | None = None
    socket: str | os.PathLike[str] | None = None
    bridge: str = "moorage0"
    subnet: str | None = None
    default_network: bool = True
    port_range: str = "49153-65535"
    loopback: str = "kernel"
    proxy: str = ALWAYS
    mtu: int | None = None
    flows: int = FLOWS
    forward_others: bool = False
    allow_uids: tuple[int, ...] = ()
    allow_gids: tuple[int, ...] = ()
    quarantine: float = 0
    drain: float = 30
    chaos: bool = False
    log_level: str = "info"

    def __post_init__(self) -> None:
        """Check every value, and keep it in its canonical form."""
        for key, check in _CHECKS.items():
            value = getattr(self, key)
            if value is not None or key not in _OPTIONAL:
                object.__setattr__(self, key, check(key, value))

    @property
    def ports(self) -> range:
        """The host ports of automatic mappings."""
        first, _, last = self.port_range.partition("-")
        return range(int(first), int(last) + 1)

    @property
    def state_path(self) -> Path:
        """The directory of the journal: `state`, or its default."""
        return Path(self.state if self.state is not None else default_state())

    @property
    def socket_path(self) -> Path:
        """Where the agent listens: `socket`, or its default."""
        return Path(self.socket if self.socket is not None else default_socket())


def check(key: str, value: Any) -> None:
    """Raise Refused (invalid), naming the key, for a value that it cannot have; `config` is the file's path."""
    (checks.path if key == "config" else _CHECKS[key])(key, value)


def load(path: str | os.PathLike[str]) -> Config:
    """Read a TOML file. Raises Refused (invalid), naming the file and the key that is wrong."""
    try:
        return Config(**_known_keys(tomllib.loads(Path(checks.path("config", path)).read_text("utf-8"))))
    except OSError as error:
        raise Refused(Code.INVALID, f"the configuration {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Refused(Code.INVALID, f"the configuration {path} is not TOML: {error}") from error
    except Refused as refused:
        raise Refused(refused.code, f"the configuration {path}: {refused.text}") from refused


def _known_keys(table: dict[str, Any]) -> dict[str, Any]:
    known = [each.name for each in fields(Config)]
    for key in table:
        if key not in known:
            raise Refused(Code.INVALID, f"the key {key!r} is unknown; there are {', '.join(known)}")
    return table


def _range(key: str, value: Any) -> str:
    first, dash, last = checks.text(key, value).partition("-")
    ends = [int(end) if end.isascii() and end.isdecimal() and len(end) <= 5 else 0 for end in (first, last)]
    if not dash or not 1 <= ends[0] <= ends[1] <= 65535:
        checks.invalid(key, value, "two ports from 1 to 65535 such as 49153-65535, the smaller first")
    return f"{ends[0]}-{ends[1]}"


def _subnet(key: str, value: Any) -> str:
    text = checks.subnet4(key, value)
    try:
        parse_subnet(text, version=4)
    except Refused as refused:
        raise Refused(refused.code, f"{key} is {text}: {refused.text}") from None
    return text


def _ids(key: str, value: Any) -> tuple[int, ...]:
    wanted = "an array of numeric ids"
    if not isinstance(value, list | tuple | set | frozenset):
        checks.invalid(key, value, wanted)
    for each in value:
        if type(each) is not int or not 0 <= each <= ID_MAX:
            checks.invalid(key, each, wanted)
    return tuple(value)


def _seconds(key: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):
        checks.invalid(key, value, "a number of seconds, 0 or more")
    return float(value)


def _flows(key: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= FLOWS_MAX:
        checks.invalid(key, value, f"a number of connections from 1 to {FLOWS_MAX}")
    return value


_OPTIONAL: Final = frozenset({"state", "socket", "subnet", "mtu"})
_CHECKS: Final[dict[str, checks.Check]] = {
    "kernel": checks.one_of(KERNELS),
    "state": checks.path,
    "socket": checks.path,
    "bridge": checks.link_name,
    "subnet": _subnet,
    "default_network": checks.flag,
    "port_range": _range,
    "loopback": checks.one_of(LOOPBACKS),
    "proxy": checks.one_of(PROXIES),
    "mtu": checks.mtu,
    "flows": _flows,
    "forward_others": checks.flag,
    "allow_uids": _ids,
    "allow_gids": _ids,
    "quarantine": _seconds,
    "drain": _seconds,
    "chaos": checks.flag,
    "log_level": checks.one_of(LOG_LEVELS),
}
