"""Live collections, an offline queue and presence for Branchline.

async with connect("http://127.0.0.1:8000", token) as client:
    async for change in client.subscribe("leads", where={"status": ["new", "won"]}):
        print(change.operation, change.id, change.fields)
"""

from branchline_client.backoff import RetryPolicy
from branchline_client.change import Change, Record
from branchline_client.client import Client, connect
from branchline_client.errors import (
    ApiError,
    BranchlineError,
    ClosedError,
    NeedsAuthError,
    PrincipalChangedError,
    StoppedError,
    StoreError,
    StoreInUseError,
    SubscriptionRefusedError,
    UnreachableError,
    UnsentWritesError,
    WriteRefusedError,
)
from branchline_client.inbox import Inbox, Losses
from branchline_client.live import LiveCollection, LiveState
from branchline_client.login import Login
from branchline_client.message import Principal, Signal
from branchline_client.mutation import InboxEntry, Loss, LostField, Mutation, Result
from branchline_client.position import Position
from branchline_client.presence import Presence
from branchline_client.roster import Person, RosterUpdate
from branchline_client.states import State
from branchline_client.stream import Stream
from branchline_client.view import Effect, Update
from branchline_client.writer import Write

__all__ = [
    "ApiError",
    "BranchlineError",
    "Change",
    "Client",
    "ClosedError",
    "Effect",
    "Inbox",
    "InboxEntry",
    "LiveCollection",
    "LiveState",
    "Login",
    "Loss",
    "Losses",
    "LostField",
    "Mutation",
    "NeedsAuthError",
    "Person",
    "Position",
    "Presence",
    "Principal",
    "PrincipalChangedError",
    "Record",
    "Result",
    "RetryPolicy",
    "RosterUpdate",
    "Signal",
    "State",
    "StoppedError",
    "StoreError",
    "StoreInUseError",
    "Stream",
    "SubscriptionRefusedError",
    "UnreachableError",
    "UnsentWritesError",
    "Update",
    "Write",
    "WriteRefusedError",
    "connect",
]
