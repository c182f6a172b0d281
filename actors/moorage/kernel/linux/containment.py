"""Whatever is read or done inside a container concerns that container alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2.netlink.exceptions import NetlinkError

from moorage.errors import Code, Fault, Refused
from moorage.kernel.linux.bounds import limit
from moorage.kernel.linux.netns import Stranded
from moorage.kernel.linux.rtdump import Crowded
from moorage.kernel.linux.rtnetlink import GONE, refusing
from moorage.log import Log
from moorage.values import Interface

log = Log()


@contextmanager
def contained(what: str, interface: Interface) -> Iterator[None]:
    """Refuse `what` (`attach web`) for any error of the block, which works on the container of `interface`.

    Its root decides about all that is in there, so that any errno may come, and any bytes. What is no error of the
    kernel is a fault of ours, too, and logged with its traceback. Raises Refused alone, and Stranded, after which this
    thread must end.
    """
    try:
        with refusing(what):
            yield
    except (Refused, Stranded):
        raise
    except Fault as fault:
        if isinstance(fault.__cause__, Crowded):
            raise Refused(
                Code.LIMIT,
                f"it is not known whether {interface.id} is as it should be: of the links, addresses, routes and rules "
                f"inside {interface.netns} {fault.__cause__.strerror}; fewer of them let it be put right",
            ) from fault
        raise _refused(what, interface, fault.__cause__ or fault) from fault
    except Exception as error:
        log.error("container_not_understood", id=interface.id, netns=interface.netns, exc_info=error)
        raise _refused(what, interface, error) from error


@contextmanager
def needing(what: str) -> Iterator[None]:
    """Refuse for the kernel's no to what a container needs (`its address 10.0.42.2/24`), by that name."""
    try:
        yield
    except (NetlinkError, OSError) as error:
        number = error.code if isinstance(error, NetlinkError) else error.errno
        if number in GONE or limit(what, error) is not None:
            raise
        raise Refused(
            Code.UNSUPPORTED,
            f"the kernel refuses {what} inside its namespace ({os.strerror(number or 0)}): addresses, routes, rules or "
            "settings that somebody made in there stand in the way",
        ) from error


def _refused(what: str, interface: Interface, error: BaseException) -> Refused:
    return Refused(
        Code.UNSUPPORTED,
        f"the kernel failed to {what} ({_reason(error)}): what somebody made inside {interface.netns}, addresses, "
        "routes, rules, links or settings, stands in the way",
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, NetlinkError):
        return os.strerror(error.code)
    if isinstance(error, OSError):
        return os.strerror(error.errno or 0)
    return f"{type(error).__name__}: {error}"
