"""Requests as the journal remembers them: what was asked, and the first answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgpack

from moorage.control.context import ASKING
from moorage.store.operations import TRUSTED, RequestKey


def key_of(method: str, params: Mapping[str, Any]) -> RequestKey | None:
    """The key of a request, of whoever asks, that brings its own string; None for one that does not."""
    request = params.get("request")
    if request is None:
        return None
    rest = {name: value for name, value in params.items() if name != "request"}
    caller = ASKING.get(None)
    digest = hashlib.blake2b(_canonical(rest), digest_size=16).digest()
    return RequestKey(request, method, digest, TRUSTED if caller is None else caller.uid)


def _canonical(params: Mapping[str, Any]) -> bytes:
    """The same bytes for the same parameters, whatever the order they came in."""
    packed: bytes = msgpack.packb([(name, _sorted(value)) for name, value in sorted(params.items())])
    return packed


def _sorted(value: Any) -> Any:
    return sorted(value.items()) if isinstance(value, dict) else value
