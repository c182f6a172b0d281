"""What the kernel says of mounts is read as it is, whatever their names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.kernel.linux import mounts

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, ord("/")} & set(name))


def written(name: bytes) -> bytes:
    """As the kernel writes a name: octal for what would end it."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in name)


@given(names=st.lists(NAMES, min_size=1, max_size=4))
def test_names_are_read_back(names: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every name that a file can have is that name, and no line of its own."""
    file = tmp_path_factory.getbasetemp() / "mountinfo"
    line = b"36 35 0:4 net:[4026532188] /run/%s rw,noatime master:1 - nsfs nsfs rw\n"
    file.write_bytes(b"".join(line % written(name) for name in names))
    found = list(mounts.read(file))
    assert [os.fsencode(each.point) for each in found] == [b"/run/" + name for name in names]
    assert {(each.root, each.kind) for each in found} == {("net:[4026532188]", "nsfs")}


@pytest.mark.system
def test_the_kernel_writes_them_so(tmp_path: Path) -> None:
    """Control characters, spaces, what only some take for the end of a line, and no text at all."""
    name = b"\x1b[2J\n\t \\012#\v\f\x1c\xc2\x85\xe2\x80\xa8\xff - nsfs nsfs"
    place = os.fsencode(tmp_path) + b"/" + name
    Path(os.fsdecode(place)).mkdir()
    code = "from moorage.kernel.linux import mounts\nprint([ascii(each.point) for each in mounts.read()][-1])"
    script = b'mount -t tmpfs none "$0" && exec "$1" -c "$2"'
    command = [b"unshare", b"-m", b"sh", b"-c", script, place, sys.executable.encode(), code.encode()]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == ascii(os.fsdecode(place))
