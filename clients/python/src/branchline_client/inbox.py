"""The inbox of refused writes, and the losses: what their author has yet to decide on."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from branchline_client.callbacks import Callbacks
from branchline_client.mutation import InboxEntry, Loss, MutationOperation
from branchline_client.writer import Write, Writer


class Inbox:
    """Refused writes, each with its value, oldest first. They stay until they are retried or discarded."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.on_refused: Callbacks[[InboxEntry]] = writer.refused
        """Told of each entry that comes in."""

    def __iter__(self) -> Iterator[InboxEntry]:
        return iter(sorted(self._writer.inbox.values(), key=lambda entry: (entry.at_ms, entry.id)))

    def __len__(self) -> int:
        return len(self._writer.inbox)

    def get(self, entry_id: str) -> InboxEntry | None:
        """An entry by its id."""
        return self._writer.inbox.get(entry_id)

    def retry(self, entry: InboxEntry, fields: Mapping[str, Any] | None = None) -> list[Write]:
        """Write it again, with other `fields` if some are given, and after it what was set aside because of it.

        Raises KeyError if it is not in the inbox any more.
        """
        return self._writer.retry(entry.id, fields)

    async def discard(self, entry: InboxEntry) -> None:
        """Take it out for good. Raises KeyError if it is not in the inbox any more."""
        await self._writer.discard(entry.id)


class Losses:
    """Values of this person's that others have replaced, oldest first. They stay until dismissed or restored."""

    def __init__(self, writer: Writer, seen: Callable[[Loss], Awaitable[None]]) -> None:
        self._writer = writer
        self._seen = seen
        self.on_loss: Callbacks[[Loss]] = writer.lost
        """Told of each loss that becomes known."""

    def __iter__(self) -> Iterator[Loss]:
        return iter(sorted(self._writer.losses.values(), key=lambda loss: (loss.at_ms, loss.id)))

    def __len__(self) -> int:
        return len(self._writer.losses)

    async def dismiss(self, loss: Loss) -> None:
        """Forget it here and on the server: its author has seen it."""
        await self._seen(loss)
        await self._writer.dismiss(loss.id)

    async def restore(self, loss: Loss, *, base_version: int | None = None) -> Write:
        """Write my value again, and forget the loss. A delete that was not done is done again."""
        operation: MutationOperation = "delete" if loss.field == "*" else "update"
        fields = {} if operation == "delete" else {loss.field: loss.mine}
        write = self._writer.write(
            operation, loss.collection, loss.record_id, fields, base_version=base_version
        )
        await write.local
        await self.dismiss(loss)
        return write
