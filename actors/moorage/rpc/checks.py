"""What one parameter may be: checks that return the value in its canonical form, or refuse it by name."""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, NoReturn

from moorage.errors import Code, Refused
from moorage.model.link_names import WANTED, is_link_name

Check = Callable[[str, Any], Any]
"""Takes the key and its value, returns the value to go on with. Raises Refused (invalid, limit)."""

LABELS_MAX: Final = 64
LABEL_KEY_MAX: Final = 63
LABEL_VALUE_MAX: Final = 4096
LABELS_SIZE: Final = 1 << 14
"""Bytes of all keys and values; that of a key and a value are the two above."""
REQUEST_MAX: Final = 256
SPECS_MAX: Final = 1 << 14
"""As many ports as a uid may have, each asked for by a spec of its own."""
PATH_MAX: Final = 4096
"""Linux's PATH_MAX, in bytes."""
MTU_MIN: Final = 68
"""RFC 791: every host forwards 68 octets without fragmenting."""
MTU6_MIN: Final = 1280
"""RFC 8200, section 5."""
MTU_MAX: Final = 65535

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PREFIX = re.compile(r"[0-9]{1,3}")
_PORT = re.compile(r"0*([1-9][0-9]{0,4})(/(tcp|udp|sctp))?")


def invalid(key: str, value: Any, wanted: str) -> NoReturn:
    """Refuse `value`, saying what was wanted."""
    raise Refused(Code.INVALID, f"{key} is {reprlib.repr(value)}, and must be {wanted}")


def text(key: str, value: Any) -> str:
    """Any string that UTF-8 can hold."""
    if not isinstance(value, str):
        invalid(key, value, "a string")
    return value if value.isascii() or _is_utf8(value) else invalid(key, value, "a string of UTF-8")


def path(key: str, value: Any) -> str:
    """Where something is in the file system."""
    name = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    return name if isinstance(name, str) and name and "\0" not in name else invalid(key, value, "a path")


def flag(key: str, value: Any) -> bool:
    """True or false."""
    return value if isinstance(value, bool) else invalid(key, value, "true or false")


def interface_id(key: str, value: Any) -> str:
    """The caller's name for an interface."""
    wanted = "1 to 128 letters, digits, '.', '_' or '-' that begin with a letter or digit"
    return _matching(_ID, key, value, wanted)


def network_name(key: str, value: Any) -> str:
    """The name of a network."""
    wanted = "1 to 63 letters, digits, '.', '_' or '-' that begin with a letter or digit"
    return _matching(_NETWORK, key, value, wanted)


def link_name(key: str, value: Any) -> str:
    """A name for a bridge, or for a link in a container."""
    name = text(key, value)
    return name if is_link_name(name) else invalid(key, name, WANTED)


def mac(key: str, value: Any) -> str:
    """A unicast Ethernet address, in lower case."""
    wanted = "a unicast MAC address such as 02:42:0a:00:2a:02"
    address = text(key, value).lower()
    if not _MAC.fullmatch(address) or int(address[:2], 16) & 1 or not address.strip("0:"):
        invalid(key, value, wanted)
    return address


def ipv4(key: str, value: Any) -> str:
    """An IPv4 address."""
    return str(_address(key, value, IPv4Address, "an IPv4 address such as 10.0.42.2"))


def ipv6(key: str, value: Any) -> str:
    """An IPv6 address without a zone, in its canonical form."""
    return str(_address(key, value, IPv6Address, "an IPv6 address such as fd00::2"))


def subnet4(key: str, value: Any) -> str:
    """An IPv4 address with its prefix length; what the host part means is not decided here."""
    return _subnet(key, value, IPv4Address, "an IPv4 subnet such as 10.0.42.0/24")


def subnet6(key: str, value: Any) -> str:
    """An IPv6 address with its prefix length."""
    return _subnet(key, value, IPv6Address, "an IPv6 subnet such as fd00:42::/64")


def mtu(key: str, value: Any) -> int:
    """Bytes of the largest packet."""
    if type(value) is not int or not MTU_MIN <= value <= MTU_MAX:
        invalid(key, value, f"an integer from {MTU_MIN} to {MTU_MAX}")
    return value


def netns(key: str, value: Any) -> str:
    """Something that may name a network namespace; whether it does is for the kernel to say."""
    name = text(key, value)
    if not name or "\0" in name or len(name.encode(errors="surrogatepass")) > PATH_MAX:
        invalid(key, value, "a path, a name under /run/netns, or pid:N")
    return name


def request(key: str, value: Any) -> str:
    """The caller's own unique string."""
    if not 1 <= len(text(key, value)) <= REQUEST_MAX:
        invalid(key, value, f"a string of 1 to {REQUEST_MAX} characters")
    return str(value)


def texts(key: str, value: Any) -> list[str]:
    """An array of strings."""
    if not isinstance(value, list | tuple):
        invalid(key, value, "an array of strings")
    return [text(f"{key}[{index}]", each) for index, each in enumerate(value)]


def port_specs(key: str, value: Any) -> list[str]:
    """An array of port specs, which are not read yet: of so many alone as can be, for reading them takes time."""
    if isinstance(value, list | tuple) and len(value) > SPECS_MAX:
        raise Refused(
            Code.LIMIT,
            f"{key} has {len(value)} port specs, and {SPECS_MAX} are the most of one request: ask for ranges such as "
            "8000-8009:9000-9009, or in several requests",
        )
    return texts(key, value)


def one_of(known: Collection[str], *, unsaid: Collection[str] = ()) -> Check:
    """Make a check for one of some strings; those `unsaid` pass, for a better sentence later than "one of"."""

    def check(key: str, value: Any) -> str:
        name = text(key, value)
        return name if name in known or name in unsaid else invalid(key, name, f"one of {', '.join(known)}")

    return check


def names_of(known: tuple[str, ...]) -> Check:
    """Make a check for an array of some of `known`."""

    def check(key: str, value: Any) -> list[str]:
        for index, name in enumerate(names := texts(key, value)):
            if name not in known:
                invalid(f"{key}[{index}]", name, f"one of {', '.join(known)}")
        return names

    return check


def labels(key: str, value: Any) -> dict[str, str]:
    """A map of strings to strings, within limits."""
    if not isinstance(value, dict):
        invalid(key, value, "a map of strings to strings")
    if len(value) > LABELS_MAX:
        raise Refused(Code.INVALID, f"{key} has {len(value)} labels, and {LABELS_MAX} are the most")
    size = 0
    for name, each in value.items():
        label = f"{key}[{reprlib.repr(name)}]"
        size += _sized(f"a key of {key}, {reprlib.repr(name)},", name, LABEL_KEY_MAX)
        size += _sized(label, each, LABEL_VALUE_MAX)
        if size > LABELS_SIZE:
            raise Refused(
                Code.INVALID, f"{key} have more than {LABELS_SIZE} bytes with {label}: leave some out"
            )
    return dict(value)


def port(key: str, value: Any) -> str:
    """A port with its protocol, `8080/tcp` or `8080`."""
    found = _PORT.fullmatch(text(key, value))
    if not found or int(found[1]) > 65535:
        invalid(key, value, "a port from 1 to 65535, with /tcp, /udp or /sctp after it or nothing for tcp")
    return str(value)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _matching(pattern: re.Pattern[str], key: str, value: Any, wanted: str) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else invalid(key, value, wanted)


def _sized(key: str, value: Any, most: int) -> int:
    """How many bytes a string has, which are no more than `most`."""
    size = len(text(key, value).encode())
    if size > most:
        raise Refused(Code.INVALID, f"{key} has {size} bytes, and {most} are the most")
    return size


def _address(
    key: str, value: Any, family: type[IPv4Address | IPv6Address], wanted: str
) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text(key, value))
    except ValueError:
        invalid(key, value, wanted)
    return invalid(key, value, wanted) if not isinstance(address, family) or "%" in value else address


def _subnet(key: str, value: Any, family: type[IPv4Address | IPv6Address], wanted: str) -> str:
    host, _, prefix = text(key, value).partition("/")
    try:
        address = _address(key, host, family, wanted)
    except Refused:
        invalid(key, value, wanted)
    if not _PREFIX.fullmatch(prefix) or int(prefix) > address.max_prefixlen:
        invalid(key, value, wanted)
    return f"{address}/{int(prefix)}"
