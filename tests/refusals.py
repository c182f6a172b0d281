"""What a call is refused with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage import Refused


def code_of(function: Callable[..., Any], *arguments: Any, **more: Any) -> str:
    """The code that this call is refused with; fails the test when it is not."""
    with pytest.raises(Refused) as refused:
        function(*arguments, **more)
    return refused.value.code
