"""Writes: shown at once, kept on this device, pushed, settled; and the inbox and the losses that come of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from branchline_client.callbacks import Callbacks
from branchline_client.clock import ClientClock
from branchline_client.errors import BranchlineError, StoreError, WriteRefusedError
from branchline_client.mutation import InboxEntry, Loss, Mode, Mutation, MutationOperation, Result
from branchline_client.queue import DEPENDENCY_CODE, Pending, Queue, Settlement
from branchline_client.store import Changes, Kept, Store
from branchline_client.tasks import Tasks

T = TypeVar("T")

_log = logging.getLogger("branchline_client")


class Outcome(Generic[T]):
    """Something to be awaited, any number of times, or not at all."""

    def __init__(self) -> None:
        self._done = asyncio.Event()
        self._value: T | None = None
        self._error: BranchlineError | None = None

    def __await__(self) -> Generator[Any, None, T]:
        yield from self._done.wait().__await__()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set together with `_done`

    @property
    def is_done(self) -> bool:
        """Whether awaiting it would return, or raise, at once."""
        return self._done.is_set()

    def resolve(self, value: T) -> None:
        """Be done."""
        self._value = value
        self._done.set()

    def fail(self, error: BranchlineError) -> None:
        """Be done with an error."""
        self._error = error
        self._done.set()


class Write:
    """One write. It is visible when this object is.

    `local` is done when the write is kept on this device: from then on it survives a crash; raises StoreError. `server`
    is done when the server has it, with the Result; raises WriteRefusedError when it went to the inbox.
    """

    def __init__(self, mutation: Mutation) -> None:
        self.mutation = mutation
        self._local: Outcome[None] = Outcome()
        self._server: Outcome[Result] = Outcome()

    @property
    def id(self) -> str:
        """The record's id."""
        return self.mutation.id

    @property
    def mutation_id(self) -> str:
        """The write's own id, by which the server knows a repeat."""
        return self.mutation.mutation_id

    @property
    def local(self) -> Awaitable[None]:
        """Done when it is kept on this device."""
        return self._local

    @property
    def server(self) -> Awaitable[Result]:
        """Done when the server has it."""
        return self._server


class Writer:
    """The queue with its store. `changed` is told of records whose pending writes have changed."""

    def __init__(
        self,
        store: Store,
        kept: Kept,
        *,
        device_ms: Callable[[], int],
        new_id: Callable[[], str],
        tasks: Tasks,
        refused_tries: int,
    ) -> None:
        self.queue = Queue(refused_tries=refused_tries)
        self.clock: ClientClock = kept.clock
        self.inbox: dict[str, InboxEntry] = {entry.id: entry for entry in kept.inbox}
        self.losses: dict[str, Loss] = {loss.id: loss for loss in kept.losses}
        self.changed: Callable[[str, Iterable[str]], None] = lambda collection, ids: None
        self.kept: Callable[[], None] = lambda: None
        """Told when there is something new to push."""
        self.refused: Callbacks[[InboxEntry]] = Callbacks()
        self.lost: Callbacks[[Loss]] = Callbacks()
        self._store = store
        self._device_ms = device_ms
        self._new_id = new_id
        self._owned = tasks
        self._writes: dict[str, Write] = {}
        self._keeping: set[asyncio.Task[None]] = set()
        for pending in kept.queue:
            restored = self.queue.add(pending.mutation, stage=pending.stage, sequence=pending.sequence)
            restored.written, restored.attempts = pending.written, pending.attempts
            restored.was_sent, restored.answer = pending.was_sent, pending.answer
        self.queue.shift_clocks(self.clock.offset_ms)
        for entry in kept.inbox:
            self.queue.note_refused(entry.mutation)

    def now_ms(self) -> int:
        """The time by the server's clock."""
        return self.clock.now_ms(self._device_ms())

    # Writing.

    def write(
        self,
        operation: MutationOperation,
        collection: str,
        record_id: str,
        fields: Mapping[str, Any],
        *,
        base_version: int | None = None,
        mode: Mode | None = None,
    ) -> Write:
        """Take a write; it shows when this returns."""
        return self._enqueue([self._mutation(operation, collection, record_id, fields, base_version, mode)])[
            0
        ]

    def retry(self, entry_id: str, fields: Mapping[str, Any] | None = None) -> list[Write]:
        """Try an entry of the inbox again, as a new write, with what was set aside because of it.

        `fields` replace its own. Raises KeyError where there is no such entry.
        """
        entry = self.inbox[entry_id]
        entries = [entry, *(each for each in self.inbox.values() if _depends(each, entry_id))]
        mutations = [self._again(each) for each in entries]
        if fields is not None:
            mutations[0] = replace(mutations[0], fields=dict(fields))
        for each in entries:
            del self.inbox[each.id]
        return self._enqueue(mutations, Changes(delete_inbox=[each.id for each in entries]))

    async def discard(self, entry_id: str) -> None:
        """Take an entry out of the inbox for good. Raises KeyError where there is none, StoreError."""
        del self.inbox[entry_id]
        await self._store.keep(Changes(delete_inbox=[entry_id]))

    async def dismiss(self, loss_id: str) -> None:
        """Forget a loss: its author has seen it. Raises StoreError."""
        self.losses.pop(loss_id, None)
        await self._store.keep(Changes(delete_losses=[loss_id]))

    # What becomes of them.

    async def settle(self, settlement: Settlement) -> None:
        """Keep what the answers to a batch brought, show it, and tell the writers."""
        for _, result in settlement.answered:
            if result.clock is not None:
                self.clock = self.clock.see(result.clock)
        for entry in settlement.refused:
            self.inbox[entry.id] = entry
        for loss in settlement.losses:
            self.losses[loss.id] = loss
        answered = [pending for pending, _ in settlement.answered]
        self._tell_views(
            [*(each.mutation for each in answered), *(each.mutation for each in settlement.refused)]
        )
        await self._keep_or_log(
            Changes(
                put=[*answered, *settlement.again, *settlement.changed],
                delete=[entry.id for entry in settlement.refused],
                put_inbox=settlement.refused,
                put_losses=settlement.losses,
                clock=self.clock,
            )
        )
        for pending, result in settlement.answered:
            self._server_outcome(pending.mutation.mutation_id, result)
        for entry in settlement.refused:
            self._refused(entry)
        for loss in settlement.losses:
            self.lost.tell(loss)

    async def set_aside(self, concerns: Callable[[Mutation], bool], code: str, message: str) -> None:
        """Put queued writes into the inbox."""
        entries = self.queue.set_aside(concerns, code, message, self.now_ms())
        for entry in entries:
            self.inbox[entry.id] = entry
        self._tell_views(entry.mutation for entry in entries)
        await self._keep_or_log(Changes(delete=[entry.id for entry in entries], put_inbox=entries))
        for entry in entries:
            self._refused(entry)

    async def note_losses(self, losses: Sequence[Loss]) -> None:
        """Keep values of this person's that others replaced, and tell of those that are new."""
        fresh = [loss for loss in losses if loss.id not in self.losses]
        for loss in fresh:
            self.losses[loss.id] = loss
        if fresh:
            await self._keep_or_log(Changes(put_losses=fresh))
        for loss in fresh:
            self.lost.tell(loss)

    def release(self, holds: Callable[[Pending], bool]) -> list[Pending]:
        """Forget answered writes that every copy holds by now."""
        released = self.queue.release(holds)
        if released:
            self._keep_later(Changes(delete=[each.mutation.mutation_id for each in released]))
        return released

    # The clock.

    def see(self, clock: str) -> None:
        """Move past a clock that was received. It is kept with the next write."""
        self.clock = self.clock.see(clock)

    def see_server_time(self, server_ms: int, device_ms: int, uncertain_ms: int) -> None:
        """Learn the server's time."""
        self.clock, moved = self.clock.see_server_time(server_ms, device_ms, uncertain_ms)
        if moved:
            _log.info("this device's clock is %d ms off the server's", -self.clock.offset_ms)
            self._keep_later(Changes(put=self.queue.shift_clocks(self.clock.offset_ms), clock=self.clock))

    async def wait_kept(self) -> None:
        """Wait until everything that was begun is kept, or has failed to be."""
        while self._keeping:
            await asyncio.wait(self._keeping)

    # Parts.

    def _mutation(
        self,
        operation: MutationOperation,
        collection: str,
        record_id: str,
        fields: Mapping[str, Any],
        base_version: int | None,
        mode: Mode | None,
    ) -> Mutation:
        floor = "" if self.clock.seen is None else str(self.clock.seen)
        self.clock, stamp = self.clock.tick(self._device_ms())
        return Mutation(
            mutation_id=self._new_id(),
            collection=collection,
            id=record_id,
            operation=operation,
            fields=dict(fields),
            base_version=base_version,
            mode=mode,
            clock=stamp,
            made_at_ms=self.now_ms(),
            offset_ms=self.clock.offset_ms,
            floor=floor,
        )

    def _again(self, entry: InboxEntry) -> Mutation:
        old = entry.mutation
        seen = old.base_version if entry.record is None else entry.record["version"]
        return self._mutation(old.operation, old.collection, old.id, old.fields, seen, old.mode)

    def _enqueue(self, mutations: Sequence[Mutation], changes: Changes | None = None) -> list[Write]:
        pending = [self.queue.add(mutation) for mutation in mutations]
        writes = [Write(mutation) for mutation in mutations]
        for write in writes:
            self._writes[write.mutation_id] = write
        self._tell_views(mutations)
        changes = changes or Changes()
        changes.put.extend(pending)
        changes.clock = self.clock
        self._spawn(self._keep_queued(writes, changes))
        return writes

    async def _keep_queued(self, writes: Sequence[Write], changes: Changes) -> None:
        try:
            await self._store.keep(changes)
        except StoreError as error:
            for write in writes:
                self.queue.remove(write.mutation_id)
                self._writes.pop(write.mutation_id, None)
                write._local.fail(error)
                write._server.fail(error)
            self._tell_views(write.mutation for write in writes)
            return
        for write in writes:
            self.queue.kept(write.mutation_id)
            write._local.resolve(None)
        self.kept()

    def _keep_later(self, changes: Changes) -> None:
        self._spawn(self._keep_or_log(changes))

    async def _keep_or_log(self, changes: Changes) -> None:
        """Keep what the server has told. If this device cannot, it asks the server again after its next start."""
        try:
            await self._store.keep(changes)
        except StoreError as error:
            _log.error("%s", error)

    def _spawn(self, work: Any) -> None:
        task = self._owned.start(work, name="branchline keep")
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    def _tell_views(self, mutations: Iterable[Mutation]) -> None:
        touched: dict[str, set[str]] = {}
        for mutation in mutations:
            touched.setdefault(mutation.collection, set()).add(mutation.id)
        for collection, record_ids in touched.items():
            self.changed(collection, record_ids)

    def _server_outcome(self, mutation_id: str, result: Result) -> None:
        write = self._writes.pop(mutation_id, None)
        if write is not None:
            write._server.resolve(result)

    def _refused(self, entry: InboxEntry) -> None:
        write = self._writes.pop(entry.id, None)
        if write is not None:
            write._server.fail(WriteRefusedError(entry))
        self.refused.tell(entry)


def _depends(entry: InboxEntry, entry_id: str) -> bool:
    return entry.code == DEPENDENCY_CODE and entry_id in entry.depends_on
