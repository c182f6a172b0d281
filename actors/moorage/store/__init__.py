"""Durable state: SQLite in a directory of its own, one writer, many operations to a commit."""

from moorage.store.failures import Untrusted, is_damage
from moorage.store.identity import id_in
from moorage.store.keeper import Keeper
from moorage.store.lock import lock_directory
from moorage.store.operations import (
    Already,
    Commit,
    Conflict,
    Done,
    DropInterface,
    DropNetwork,
    ForgetRequest,
    ForgetSysctls,
    Operation,
    Outcome,
    PutInterface,
    PutNetwork,
    Remember,
    RequestKey,
    Reserve,
    Unreserve,
)
from moorage.store.rebuild import Rebuilt, finish_rebuild, rebuild
from moorage.store.records import Damaged
from moorage.store.store import Store
from moorage.store.takeover import Taken, take_up

__all__ = [
    "Already",
    "Commit",
    "Conflict",
    "Damaged",
    "Done",
    "DropInterface",
    "DropNetwork",
    "ForgetRequest",
    "ForgetSysctls",
    "Keeper",
    "Operation",
    "Outcome",
    "PutInterface",
    "PutNetwork",
    "Rebuilt",
    "Remember",
    "RequestKey",
    "Reserve",
    "Store",
    "Taken",
    "Unreserve",
    "Untrusted",
    "finish_rebuild",
    "id_in",
    "is_damage",
    "lock_directory",
    "rebuild",
    "take_up",
]
