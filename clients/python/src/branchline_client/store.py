"""What may not be lost: who this client is, its clock, its unsent writes, the inbox and the losses."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from branchline_client.clock import ClientClock, parse_clock
from branchline_client.database import Database
from branchline_client.errors import PrincipalChangedError, StoreError
from branchline_client.mutation import InboxEntry, Loss, Mutation
from branchline_client.queue import Answer, Pending, Stage
from branchline_client.statements import load

FILE = "queue.sqlite3"
VERSION = 1

_SQL = load("store.sql")
_TABLES = ("create_meta", "create_queue", "create_inbox", "create_losses")


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store held when it was opened."""

    clock: ClientClock
    principal: tuple[str, str] | None
    queue: Sequence[Pending] = ()
    inbox: Sequence[InboxEntry] = ()
    losses: Sequence[Loss] = ()


@dataclass(slots=True)
class Changes:
    """What is to be kept in one commit."""

    put: list[Pending] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    put_inbox: list[InboxEntry] = field(default_factory=list)
    delete_inbox: list[str] = field(default_factory=list)
    put_losses: list[Loss] = field(default_factory=list)
    delete_losses: list[str] = field(default_factory=list)
    clock: ClientClock | None = None


class Store:
    """The durable side of a client. When a call returns, what it was given survives a crash and a power cut.

    Without a folder it is memory, and survives nothing: `is_durable` says so.
    """

    def __init__(self, database: Database, *, is_durable: bool) -> None:
        self._database = database
        self.is_durable = is_durable

    @classmethod
    async def open(cls, folder: Path | None, new_client_id: Callable[[], str]) -> "tuple[Store, Kept]":
        """Open a folder's store, made where there is none. Raises StoreInUseError, StoreError."""
        path = None if folder is None else make_private(folder, FILE)
        database = await Database.open(path, [_SQL[name] for name in _TABLES], VERSION, "FULL")
        store = cls(database, is_durable=path is not None)
        return store, await store._load(new_client_id)

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def keep(self, changes: Changes) -> None:
        """Commit changes. Raises StoreError."""
        # Encoded here: by the time the thread comes to it, the queue may have moved on.
        rows = [_row(pending) for pending in changes.put]
        inbox = [(entry.id, _dump(entry)) for entry in changes.put_inbox]
        losses = [(loss.id, _dump(loss)) for loss in changes.put_losses]
        clock = None if changes.clock is None else _clock_rows(changes.clock)
        deleted, read, seen = changes.delete, changes.delete_inbox, changes.delete_losses

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_SQL["put_queued"], rows)
            connection.executemany(_SQL["delete_queued"], _singles(deleted))
            connection.executemany(_SQL["put_inbox"], inbox)
            connection.executemany(_SQL["delete_inbox"], _singles(read))
            connection.executemany(_SQL["put_loss"], losses)
            connection.executemany(_SQL["delete_loss"], _singles(seen))
            if clock is not None:
                connection.executemany(_SQL["put_meta"], clock)

        await self._database.run(work)

    async def bind(self, user_id: str, organization_id: str) -> None:
        """Keep whose store this is. Raises PrincipalChangedError if it is another's: nothing of it may be sent."""
        mine = f"{user_id} {organization_id}"

        def work(connection: sqlite3.Connection) -> str:
            kept = dict(connection.execute(_SQL["get_meta"]).fetchall())
            if "principal" not in kept:
                connection.execute(_SQL["put_meta"], ("principal", mine))
            return str(kept.get("principal", mine))

        if await self._database.run(work) != mine:
            raise PrincipalChangedError(
                "the store holds the work of another person or organisation than the token's; use another folder"
            )

    async def _load(self, new_client_id: Callable[[], str]) -> Kept:
        def work(connection: sqlite3.Connection) -> Kept:
            meta = dict(connection.execute(_SQL["get_meta"]).fetchall())
            if "client_id" not in meta:
                meta["client_id"] = new_client_id()
                connection.execute(_SQL["put_meta"], ("client_id", meta["client_id"]))
            return Kept(
                clock=_clock(meta),
                principal=_principal(meta.get("principal")),
                queue=[_pending(row) for row in connection.execute(_SQL["get_queued"])],
                inbox=[_inbox_entry(row[0]) for row in connection.execute(_SQL["get_inbox"])],
                losses=[Loss(**orjson.loads(row[0])) for row in connection.execute(_SQL["get_losses"])],
            )

        return await self._database.run(work)


def make_private(folder: Path, name: str) -> Path:
    """Make a folder and a file in it that nobody else reads; give the file's path. Raises StoreError."""
    path = folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"{folder} cannot be used: {error}") from error
    return path


def _singles(values: Iterable[str]) -> list[tuple[str]]:
    return [(value,) for value in values]


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode()


def _row(pending: Pending) -> tuple[Any, ...]:
    return (
        pending.mutation.mutation_id,
        pending.sequence,
        _dump(pending.mutation),
        pending.attempts,
        int(pending.was_sent),
        None if pending.written is pending.mutation else _dump(pending.written),
        None if pending.answer is None else _dump(pending.answer),
    )


def _pending(row: tuple[Any, ...]) -> Pending:
    sequence, mutation_text, attempts, was_sent, written, answer = row
    mutation = Mutation(**orjson.loads(mutation_text))
    return Pending(
        sequence=sequence,
        mutation=mutation,
        written=mutation if written is None else Mutation(**orjson.loads(written)),
        stage=Stage.QUEUED if answer is None else Stage.ANSWERED,
        attempts=attempts,
        was_sent=bool(was_sent),
        answer=None if answer is None else Answer(**orjson.loads(answer)),
    )


def _inbox_entry(text: str) -> InboxEntry:
    data = orjson.loads(text)
    mutation = Mutation(**data.pop("mutation"))
    return InboxEntry(mutation=mutation, **{**data, "depends_on": tuple(data["depends_on"])})


def _principal(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    user_id, _, organization_id = text.partition(" ")
    return user_id, organization_id


def _clock(meta: dict[str, str]) -> ClientClock:
    last, seen = (parse_clock(meta[name]) if name in meta else None for name in ("clock", "seen"))
    return ClientClock(meta["client_id"], last, seen, int(meta.get("offset_ms", "0")))


def _clock_rows(clock: ClientClock) -> list[tuple[str, str]]:
    rows = {"offset_ms": str(clock.offset_ms)}
    for name, value in (("clock", clock.last), ("seen", clock.seen)):
        if value is not None:
            rows[name] = str(value)
    return list(rows.items())
