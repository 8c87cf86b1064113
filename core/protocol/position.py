"""PURE. Where a reader stands in an organisation's log.

An **offset** counts the changes of one organisation: 1, 2, 3 … without gaps. An **epoch** names one life of
the log: a restore or a promotion of the database begins another, and offsets of two epochs do not compare.
The two make a **position**: everything up to `offset` has been seen. The newest offset is the **head**.
"""

from dataclasses import dataclass
from typing import Literal

NoReplay = Literal["other_epoch", "other_view", "beyond_head", "too_old"]


@dataclass(frozen=True, slots=True)
class Position:
    """Everything up to and including `offset` of life `epoch` of the log has been seen."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Since:
    """The position from which a client wants to go on, and the view in which it saw what it has."""

    epoch: str
    offset: int
    view: str


def why_no_replay(since: Since, *, head: Position, view: str, oldest: int = 0) -> NoReplay | None:
    """Say why `since` cannot be continued by changes alone, or None if it can.

    `oldest` is the lowest offset after which the log still holds every change, where the caller knows it.
    The one decision, for sockets (which answer with a snapshot) and for the pull endpoint (which answers
    410).
    """
    if since.epoch != head.epoch:
        return "other_epoch"
    if since.view != view:
        return "other_view"
    if since.offset > head.offset:
        return "beyond_head"
    if since.offset < oldest:
        return "too_old"
    return None
