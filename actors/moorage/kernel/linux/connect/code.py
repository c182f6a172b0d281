"""BPF instructions, put together one by one: a dozen kinds, and jumps forward to labels. Pure.

Registers are numbers: 0 is what a call or the program returns, 1 to 5 are arguments, which a call spoils, 6 to 9 are
kept, 10 is the end of the stack.
"""

from __future__ import annotations

import struct

# linux/bpf.h, linux/bpf_common.h: class | size or operation | mode or source
_LOAD, _STORE, _STORE_VALUE = 0x61, 0x63, 0x62
_SIZES = {4: 0x00, 8: 0x18}
_WIDE = 0x18
_MOVE, _COPY, _ADD, _AND, _OR = 0xB7, 0xBF, 0x07, 0x57, 0x4F
_CALL, _EXIT = 0x85, 0x95
_JUMP, _JUMP_EQUAL, _JUMP_UNEQUAL, _JUMP_UNEQUAL_REGISTER = 0x05, 0x15, 0x55, 0x5D
_JUMP32_UNEQUAL = 0x56
_JUMP32_EQUAL = 0x16
_PSEUDO_MAP = 1
_INSTRUCTION = struct.Struct("=BBhi")


class Code:
    """A program in the making."""

    def __init__(self) -> None:
        """Begin with none."""
        self._instructions: list[tuple[int, int, int, int]] = []
        self._jumps: dict[int, str] = {}
        self._labels: dict[str, int] = {}

    def load(self, into: int, base: int, offset: int, size: int = 4) -> None:
        """Read 4 or 8 bytes from memory."""
        self._add(_LOAD | _SIZES[size], into, base, offset)

    def store(self, base: int, offset: int, source: int, size: int = 4) -> None:
        """Write a register's 4 or 8 bytes to memory."""
        self._add(_STORE | _SIZES[size], base, source, offset)

    def store_value(self, base: int, offset: int, value: int, size: int = 4) -> None:
        """Write a number of 4 or 8 bytes to memory."""
        self._add(_STORE_VALUE | _SIZES[size], base, 0, offset, value)

    def set(self, register: int, value: int) -> None:
        """Set a register to a number of 32 bits."""
        self._add(_MOVE, register, value=value)

    def set_wide(self, register: int, value: int) -> None:
        """Set a register to a number of 64 bits."""
        self._wide(register, 0, value)

    def set_map(self, register: int, fd: int) -> None:
        """Set a register to the map of a descriptor."""
        self._wide(register, _PSEUDO_MAP, fd)

    def copy(self, into: int, source: int) -> None:
        """Copy a register."""
        self._add(_COPY, into, source)

    def add(self, register: int, value: int) -> None:
        """Add a number."""
        self._add(_ADD, register, value=value)

    def mask(self, register: int, value: int) -> None:
        """Keep the bits of a number."""
        self._add(_AND, register, value=value)

    def merge(self, register: int, other: int) -> None:
        """Add the bits of another register."""
        self._add(_OR, register, other)

    def call(self, helper: int) -> None:
        """Call one of the kernel's helpers."""
        self._add(_CALL, value=helper)

    def exit(self) -> None:
        """Return register 0."""
        self._add(_EXIT)

    def jump(self, label: str) -> None:
        """Go to `label`."""
        self._jump(_JUMP, 0, 0, 0, label)

    def jump_if_zero(self, register: int, label: str) -> None:
        """Go to `label` where all 64 bits are 0."""
        self._jump(_JUMP_EQUAL, register, 0, 0, label)

    def jump_unless_zero(self, register: int, label: str) -> None:
        """Go to `label` where one of 64 bits is not 0."""
        self._jump(_JUMP_UNEQUAL, register, 0, 0, label)

    def jump_if(self, register: int, value: int, label: str) -> None:
        """Go to `label` where the lower 32 bits are `value`."""
        self._jump(_JUMP32_EQUAL, register, 0, value, label)

    def jump_unless(self, register: int, value: int, label: str) -> None:
        """Go to `label` where the lower 32 bits are not `value`."""
        self._jump(_JUMP32_UNEQUAL, register, 0, value, label)

    def jump_unless_same(self, register: int, other: int, label: str) -> None:
        """Go to `label` where two registers differ."""
        self._jump(_JUMP_UNEQUAL_REGISTER, register, other, 0, label)

    def label(self, name: str) -> None:
        """Let jumps to `name` go on here."""
        self._labels[name] = len(self._instructions)

    def assembled(self) -> bytes:
        """The program as the kernel takes it. Raises KeyError for a jump to nowhere."""
        parts = []
        for at, (operation, registers, offset, value) in enumerate(self._instructions):
            to = self._labels[self._jumps[at]] - at - 1 if at in self._jumps else offset
            parts.append(_INSTRUCTION.pack(operation, registers, to, _signed(value)))
        return b"".join(parts)

    def _jump(self, operation: int, register: int, other: int, value: int, label: str) -> None:
        self._jumps[len(self._instructions)] = label
        self._add(operation, register, other, value=value)

    def _wide(self, register: int, source: int, value: int) -> None:
        self._add(_WIDE, register, source, value=value & 0xFFFFFFFF)
        self._add(0, value=value >> 32)

    def _add(self, operation: int, into: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> None:
        self._instructions.append((operation, _registers(into, source), offset, value))


def _registers(into: int, source: int) -> int:
    # a bit field: which half comes first is the machine's
    return into | source << 4 if _LITTLE else into << 4 | source


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


_LITTLE = struct.pack("=H", 1)[0] == 1
