"""Errors that a program may meet. Each name says the cause; each message what was expected and what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from branchline_client.mutation import InboxEntry


class BranchlineError(Exception):
    """The base of all errors of this package."""


class NeedsAuthError(BranchlineError):
    """No token is at hand that the server accepts. Raise it in a token callback when nobody is signed in."""


class StoppedError(BranchlineError):
    """The server has ended the connection for good; `code` is the close code or HTTP status that said so."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server ended the connection ({code}{f': {reason}' if reason else ''})")
        self.code = code
        self.reason = reason


class ClosedError(BranchlineError):
    """The client was closed."""


class SubscriptionRefusedError(BranchlineError):
    """A topic cannot be followed; `code` is the protocol's."""

    def __init__(self, topic: str, code: str, message: str) -> None:
        super().__init__(f"topic {topic!r}: {message or code}")
        self.topic = topic
        self.code = code


class WriteRefusedError(BranchlineError):
    """A write was refused and lies in the inbox, as `entry`, with its value."""

    def __init__(self, entry: InboxEntry) -> None:
        mutation = entry.mutation
        super().__init__(
            f"{mutation.operation} of {mutation.collection}/{mutation.id}: {entry.message or entry.code}"
        )
        self.entry = entry

    @property
    def code(self) -> str:
        """Why, as a stable code."""
        return self.entry.code


class StoreError(BranchlineError):
    """What was to be kept on this device could not be written or read."""


class StoreInUseError(StoreError):
    """Another process uses the same folder. Each process has its own, or one process has the connection."""


class PrincipalChangedError(BranchlineError):
    """The folder holds unsent work of another person or organisation than the token's; nothing was sent."""


class UnsentWritesError(BranchlineError):
    """The client was closed with writes that are kept nowhere: it had no folder, and they were not sent."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} writes were neither sent nor stored; give `store=` a folder to keep them")
        self.count = count


class MalformedMessageError(BranchlineError):
    """What came from the server is not a message of this protocol."""


class ApiError(BranchlineError):
    """The API answered with an error: its status, stable `code` and words."""

    def __init__(self, status: int, code: str, detail: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class UnreachableError(BranchlineError):
    """The server did not answer, or not in time. Whether it acted is unknown."""
