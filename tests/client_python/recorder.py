"""Writes down what a client of the real system was told, shown and answered, for the checker."""

from collections.abc import Iterable
from typing import Any

from branchline_client import Change, Client, LiveCollection, Result, Update, Write, WriteRefusedError
from branchline_client.errors import BranchlineError
from branchline_client.feed import Advanced, Fact, Replaced
from branchline_client.subscriptions import TopicSpec
from core.protocol.view import View
from tests.checker import Acknowledged, ChangesSeen, Closed, Read, SnapshotSeen, Trace, Wrote


class Recorder:
    """One client's life with one live collection."""

    def __init__(self, name: str, client: Client, live: LiveCollection, view: View) -> None:
        self.name = name
        self.client = client
        self.live = live
        self.trace = Trace(name, view, None if live.position is None else live.position.offset)
        self.session: list[Wrote | Closed | Read] = []
        self.writes: list[Write] = []
        self.answers: dict[str, Result | BranchlineError] = {}
        self._remove = [client.on_fact(self._fact), live.on_change(self._changed)]

    def close(self) -> None:
        """Write down no more."""
        for remove in self._remove:
            remove()

    def wrote(self, write: Write) -> Write:
        """Follow a write that was just made."""
        mutation = write.mutation
        self.writes.append(write)
        self.session.append(Wrote(mutation.mutation_id, mutation.key, mutation.operation, mutation.fields))
        self.read(mutation.id)
        return write

    async def follow(self) -> None:
        """Take the answers to all writes."""
        for write in self.writes:
            try:
                self.answers[write.mutation_id] = await write.server
            except WriteRefusedError as refused:
                self.answers[write.mutation_id] = refused

    def read(self, record_id: str) -> None:
        """Look at a record."""
        self._settle_writes([record_id])
        held = self.live.server_record(record_id)
        key = (self.live.spec.collection, record_id)
        self.session.append(Read(key, self.live.get(record_id), None if held is None else held["version"]))

    def acknowledged(self) -> list[Acknowledged]:
        """The writes that the server has answered with applied or merged."""
        by_id = {write.mutation_id: write.mutation for write in self.writes}
        return [
            Acknowledged(
                mutation_id,
                by_id[mutation_id].key,
                by_id[mutation_id].operation,
                by_id[mutation_id].fields,
                answer.clock or "",
                frozenset(each.field for each in answer.lost),
            )
            for mutation_id, answer in self.answers.items()
            if isinstance(answer, Result)
        ]

    def _settle_writes(self, record_ids: Iterable[str]) -> None:
        """Guard no longer what the queue has let go of: refused, lost in part, or in the server's state."""
        queue = self.live.view.queue
        for record_id in record_ids:
            pending = {
                each.mutation.mutation_id: each
                for each in queue.of_record(self.live.spec.collection, record_id)
            }
            for write in self.writes:
                if write.id != record_id:
                    continue
                held = pending.get(write.mutation_id)
                if held is None or self.live.holds(held):
                    self.session.append(Closed(write.mutation_id, None))
                elif held.written is not held.mutation:
                    written = held.written
                    self.session.append(
                        Wrote(write.mutation_id, written.key, written.operation, written.fields)
                    )

    def _fact(self, spec: TopicSpec, fact: Fact) -> None:
        if spec != self.live.spec:
            return
        match fact:
            case Replaced():
                versions = {record["id"]: record["version"] for _, record in fact.records}
                self.trace.seen.append(SnapshotSeen(fact.position.offset, versions))
            case Advanced():
                self.trace.seen.append(
                    ChangesSeen(fact.position.offset, list(map(_told, fact.changes)), fact.conflated)
                )
            case _:
                pass

    def _changed(self, update: Update) -> None:
        # Own writes are told of before they are written down here; `wrote` looks at those.
        if len(update.effects) < 50:
            for effect in update.effects:
                if effect.change is not None:
                    self.read(effect.id)


def _told(change: Change) -> tuple[int, str, Any]:
    return change.offset, change.id, change.operation
