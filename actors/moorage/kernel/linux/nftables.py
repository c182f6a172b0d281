"""libnftables, called in this process: commands in nftables' own language, no program executed."""

from __future__ import annotations

import ctypes
import errno
import json
import os
from contextlib import suppress
from functools import cache
from typing import Any

from moorage import memory
from moorage.descriptors import LOW, Spare
from moorage.errors import Code, MoorageError, Refused
from moorage.kernel.linux.bounds import limit_in

# nftables/libnftables.h
_JSON = 1 << 4
_STATELESS = 1 << 1
_HANDLE = 1 << 3
_TERSE = 1 << 11

FORBIDDEN = (
    "changing nftables needs CAP_NET_ADMIN: run the agent as root, in a namespace of your own (unshare -Urnm), "
    "or with --kernel memory"
)
"""The sentence for who may not change the rules of this network namespace."""


KEPT = 16 << 20
"""Bytes that a context may keep of others' tables from one command to the next: it reads all that there are."""


class NftablesError(MoorageError):
    """The kernel or the library did not take a command; nothing of it was done."""


class TooLongError(NftablesError):
    """A transaction was larger than the send buffer, which only root of the host may enlarge at will."""


class Nftables:
    """One context of libnftables, for the thread that made it.

    The library ends the process where it cannot open a socket, which it does for a new context and to look up the links
    that a command names; and where the context's socket has a number that select(2) does not take. So it is called with
    descriptors to spare, or not at all.

    Raises Refused: unsupported where the library is missing, limit without descriptors.
    """

    def __init__(self) -> None:
        """Make a context whose output and errors are kept instead of printed."""
        self._library = _library()
        self._spare = Spare(3, least=3)
        self._grown = 0
        try:
            self._spare.take()
            self._context = self._new()
        except BaseException:
            self._spare.close()
            raise

    def run(self, commands: str) -> None:
        """Do all `commands` in one transaction, or none.

        Raises NftablesError with the library's words, TooLongError when it was too much for one transaction,
        Refused: denied without the right to change nftables, limit without descriptors.
        """
        self._command(commands, 0)

    def list(self, what: str, *, elements: bool = False) -> list[dict[str, Any]]:
        """The objects of `list WHAT`, in the JSON schema of libnftables, without counts, and with elements where asked.

        Raises NftablesError when there is no such object.
        """
        flags = _JSON | _STATELESS | _HANDLE
        output = self._command(f"list {what}", flags if elements else flags | _TERSE)
        objects: list[dict[str, Any]] = (
            json.loads(output, object_hook=_uncounted)["nftables"] if output else []
        )
        return [entry for entry in objects if "metainfo" not in entry]

    def close(self) -> None:
        """Free the context."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p()
            self._spare.close()

    def _new(self) -> ctypes.c_void_p:
        with LOW.lent():
            context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_output(context)
        self._library.nft_ctx_buffer_error(context)
        return context

    def _command(self, commands: str, flags: int) -> str:
        library, context = self._library, self._context
        library.nft_ctx_output_set_flags(context, flags)
        before = memory.allocated()
        with self._spare.lent():
            failed = library.nft_run_cmd_from_buffer(context, commands.encode())
        self._grown += memory.allocated() - before
        output: bytes = library.nft_ctx_get_output_buffer(context)
        errors: bytes = library.nft_ctx_get_error_buffer(context)
        if self._grown > KEPT:
            self._forget()
        if failed:
            raise _failure(errors.decode(errors="replace"))
        return output.decode(errors="replace")

    def _forget(self) -> None:
        """Go on with another context, that knows of nobody's tables: this one forgets them only with itself."""
        with suppress(Refused):  # no descriptor for it: tried again after the next command
            former, self._context = self._context, self._new()
            self._library.nft_ctx_free(former)
            self._grown = 0
            memory.trim()


def _uncounted(body: dict[str, Any]) -> dict[str, Any]:
    # "Stateless" leaves counts out of the text, but not out of the JSON of 1.0.6.
    return {} if body.keys() == {"packets", "bytes"} else body


def _failure(text: str) -> MoorageError:
    # The library has no error numbers; it quotes strerror, and under that line the command, which may say anything.
    said = text.strip().partition("\n")[0]
    if os.strerror(errno.EPERM) in said:
        return Refused(Code.DENIED, FORBIDDEN)
    if (full := limit_in(said)) is not None:
        return full
    return (TooLongError if os.strerror(errno.EMSGSIZE) in said else NftablesError)(said)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        text = f"nftables rules need libnftables.so.1 ({error}): install Debian's libnftables1 or the like"
        raise Refused(Code.UNSUPPORTED, text) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("output_buffer", "error_buffer"):
        getattr(library, f"nft_ctx_get_{name}").argtypes = [ctypes.c_void_p]
    for name in ("buffer_output", "buffer_error", "free"):
        getattr(library, f"nft_ctx_{name}").argtypes = [ctypes.c_void_p]
    return library
