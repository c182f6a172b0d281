"""What sysctls were before we changed them: recorded before the change, so that a kill in between loses none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping

from moorage.kernel.protocol import Links
from moorage.store.operations import ForgetSysctls, Remember

LOCALNET = "/route_localnet"
"""The sysctl of a bridge without which the kernel takes 127/8 from there for a forgery."""


class Former(MutableMapping[str, str]):
    """Values by path under `/proc/sys`, as the journal has them; `record` makes each change durable before it is here.

    Whoever made the first change is remembered for good: a path that is there keeps its value.
    """

    def __init__(self, known: Mapping[str, str], record: Callable[[Remember | ForgetSysctls], None]) -> None:
        """Begin with what the journal has."""
        self._known = dict(known)
        self._record = record

    def __getitem__(self, path: str) -> str:
        return self._known[path]

    def __setitem__(self, path: str, value: str) -> None:
        if path not in self._known:
            self._record(Remember(path, value))
            self._known[path] = value

    def __delitem__(self, path: str) -> None:
        if path in self._known:
            self._record(ForgetSysctls((path,)))
        del self._known[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def give_back_localnet(kernel: Links, former: Former) -> None:
    """Put `route_localnet` of adopted bridges back, which an agent turned on that needed it."""
    for path in [path for path in former if path.endswith(LOCALNET)]:
        kernel.restore({path: former[path]})
        del former[path]
