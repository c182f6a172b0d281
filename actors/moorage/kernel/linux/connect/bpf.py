"""The system call bpf(2), for which Python and libc have no function: maps, programs, and what a cgroup runs."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from typing import NamedTuple

# linux/bpf.h
_MAP_CREATE, _MAP_LOOKUP, _MAP_DELETE, _MAP_UPDATE_BATCH = 0, 1, 3, 26
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_QUERY, _PROG_BIND_MAP = 5, 8, 9, 16, 35
_PROG_BY_ID, _MAP_BY_ID, _INFO, _BTF_LOAD = 13, 14, 15, 18
_HASH, _SK_STORAGE = 1, 24
_NO_PREALLOC = 1
_SOCK_ADDR = 18
_ALLOW_MULTI, _REPLACE = 2, 4
_ATTRIBUTES = 128
"""Bytes of union bpf_attr that are given, zeros behind what a command uses."""
_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
"""__NR_bpf by what `uname -m` says."""
_MOST_PROGRAMS = 64
"""BPF_CGROUP_MAX_PROGS, linux/bpf-cgroup.h."""

_libc = ctypes.CDLL(None, use_errno=True)


class Program(NamedTuple):
    """What the kernel tells of a loaded program, and of its maps the ids."""

    id: int
    name: str
    maps: Sequence[int]


class Map(NamedTuple):
    """What the kernel tells of a map: its type, the bytes of a key and of a value."""

    name: str
    kind: int
    key_size: int
    value_size: int


def make_hash(name: str, key_size: int, value_size: int, most: int) -> int:
    """A hash map of at most so many elements; its descriptor. Raises OSError."""
    return _fd(
        _MAP_CREATE, "=IIIIIII16s", _HASH, key_size, value_size, most, _NO_PREALLOC, 0, 0, name.encode()
    )


def make_socket_storage(name: str, value_size: int) -> int:
    """A map with a value for each socket, that ends with it; its descriptor. Raises OSError."""
    btf = _load_types(value_size)
    try:
        head = (_SK_STORAGE, 4, value_size, 0, _NO_PREALLOC, 0, 0, name.encode())
        return _fd(_MAP_CREATE, "=IIIIIII16sIIII", *head, 0, btf, _INT, _ARRAY)
    finally:
        os.close(btf)


def is_socket_storage(described: Map, value_size: int) -> bool:
    """Whether it could have been made by `make_socket_storage`."""
    return (described.kind, described.key_size, described.value_size) == (_SK_STORAGE, 4, value_size)


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value of a key; None when there is none. Raises OSError."""
    buffer, value = _buffer(key), ctypes.create_string_buffer(value_size)
    try:
        _bpf(_MAP_LOOKUP, "=IxxxxQQ", fd, _address(buffer), _address(value))
    except FileNotFoundError:
        return None
    return value.raw


def update(fd: int, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    """Set the values of keys. Raises OSError (E2BIG when the map is full), and has set some of them then."""
    if not pairs:
        return
    keys, values = _buffer(b"".join(key for key, _ in pairs)), _buffer(b"".join(value for _, value in pairs))
    _bpf(_MAP_UPDATE_BATCH, "=QQQQIIQQ", 0, 0, _address(keys), _address(values), len(pairs), fd, 0, 0)


def delete(fd: int, keys: Sequence[bytes]) -> None:
    """Remove keys; those that are not there are no error. Raises OSError."""
    for key in keys:
        buffer = _buffer(key)
        try:
            _bpf(_MAP_DELETE, "=IxxxxQ", fd, _address(buffer))
        except FileNotFoundError:
            continue


def load(name: str, code: bytes, attach_type: int) -> int:
    """A program for the addresses of a cgroup's sockets; its descriptor. Raises OSError."""
    instructions, license_text = _buffer(code), _buffer(b"Apache-2.0\0")
    return _fd(
        _PROG_LOAD,
        "=IIQQIIQII16sII",
        *(_SOCK_ADDR, len(code) // 8, _address(instructions), _address(license_text)),
        *(0, 0, 0, 0, 0, name.encode(), 0, attach_type),
    )


def bind(program: int, map_fd: int) -> None:
    """Let a program keep a map that it does not use, for others to find. Raises OSError."""
    _bpf(_PROG_BIND_MAP, "=III", program, map_fd, 0)


def attach(cgroup: int, program: int, attach_type: int, replaced: int | None = None) -> None:
    """Let a cgroup run `program`, in the place of `replaced` if given, beside those of others. Raises OSError."""
    flags = _ALLOW_MULTI | (_REPLACE if replaced is not None else 0)
    _bpf(_PROG_ATTACH, "=IIIII", cgroup, program, attach_type, flags, replaced or 0)


def detach(cgroup: int, program: int, attach_type: int) -> None:
    """Let a cgroup run `program` no more; one that it does not run is no error. Raises OSError."""
    try:
        _bpf(_PROG_DETACH, "=III", cgroup, program, attach_type)
    except FileNotFoundError:
        return


def attached(cgroup: int, attach_type: int) -> list[int]:
    """The ids of the programs that a cgroup itself runs there. Raises OSError."""
    ids = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    answer = _bpf(_PROG_QUERY, "=IIIIQI", cgroup, attach_type, 0, 0, ctypes.addressof(ids), _MOST_PROGRAMS)
    return list(ids[: struct.unpack_from("=I", answer, 24)[0]])


def program_by_id(number: int) -> int:
    """A descriptor. Raises OSError (ENOENT)."""
    return _fd(_PROG_BY_ID, "=I", number)


def map_by_id(number: int) -> int:
    """A descriptor. Raises OSError (ENOENT)."""
    return _fd(_MAP_BY_ID, "=I", number)


def describe_program(fd: int) -> Program:
    """Ask what it is. Raises OSError."""
    maps = (ctypes.c_uint32 * 64)()
    # struct bpf_prog_info: the number and the address of map ids at 52, the name at 64
    asked = bytearray(80)
    struct.pack_into("=IQ", asked, 52, len(maps), ctypes.addressof(maps))
    info = _info(fd, bytes(asked))
    number, count = struct.unpack_from("=I", info, 4)[0], struct.unpack_from("=I", info, 52)[0]
    return Program(number, _text(info[64:80]), maps[:count])


def describe_map(fd: int) -> Map:
    """Ask what it is. Raises OSError."""
    # struct bpf_map_info: type, id, key, value, most, flags, name
    kind, _, key_size, value_size, _, _, name = struct.unpack("=IIIIII16s", _info(fd, bytes(40)))
    return Map(_text(name), kind, key_size, value_size)


_INT, _ARRAY = 1, 2
"""The types that `_load_types` describes, by their place."""


def _load_types(value_size: int) -> int:
    """A description of an int and of an array of them (BTF, linux/btf.h), which a storage's value must have."""
    strings = b"\0int\0"
    types = struct.pack("=IIII", 1, 1 << 24, 4, 32) + struct.pack(
        "=IIIIII", 0, 3 << 24, 0, 1, 1, value_size // 4
    )
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    blob = _buffer(header + types + strings)
    return _fd(_BTF_LOAD, "=QQIIII", _address(blob), 0, len(blob), 0, 0, 0)


def _info(fd: int, asked: bytes) -> bytes:
    buffer = _buffer(asked)
    _bpf(_INFO, "=IIQ", fd, len(asked), _address(buffer))
    return buffer.raw


def _fd(command: int, layout: str, *fields: int | bytes) -> int:
    attributes = _packed(layout, fields)
    return _call(command, attributes)


def _bpf(command: int, layout: str, *fields: int | bytes) -> bytes:
    """Make the call; what the kernel left in its attributes."""
    attributes = _packed(layout, fields)
    _call(command, attributes)
    return attributes.raw


def _packed(layout: str, fields: Sequence[int | bytes]) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack(layout, *fields), _ATTRIBUTES)


def _call(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) has no known number on {platform.machine()}")
    result: int = _libc.syscall(number, command, attributes, ctypes.c_uint(_ATTRIBUTES))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def _text(name: bytes) -> str:
    return name.partition(b"\0")[0].decode(errors="replace")
