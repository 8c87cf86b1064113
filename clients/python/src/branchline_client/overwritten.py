"""Values of this person's that others have replaced: told by changes as they come, and by the API for the time away."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from branchline_client.api import Api
from branchline_client.change import Change
from branchline_client.errors import ApiError, NeedsAuthError, UnreachableError
from branchline_client.mutation import Loss
from branchline_client.writer import Writer

_log = logging.getLogger("branchline_client")


def losses_in(changes: Iterable[Change], user_id: str) -> list[Loss]:
    """Give what of this person's the changes have replaced unseen."""
    found = []
    for change in changes:
        for each in change.overwrote:
            if each.get("by") != user_id:
                continue
            by = None if change.actor is None else change.actor.get("user_id")
            theirs = change.fields.get(each["field"])
            key = (change.collection, change.id, each["field"], change.version)
            found.append(_loss(key, each["value"], theirs, by, change.committed_at_ms))
    return found


def loss_from_json(item: Mapping[str, Any]) -> Loss:
    """Read an item of `GET /api/overwritten`."""
    key = (item["collection"], item["record_id"], item["field"], item["version"])
    by = item.get("by") or {}
    return _loss(key, item["mine"], item.get("theirs"), by.get("user_id"), item["at_ms"])


def _loss(key: tuple[str, str, str, int], mine: Any, theirs: Any, by: str | None, at_ms: int) -> Loss:
    collection, record_id, field, version = key
    return Loss(
        id=f"{collection}/{record_id}/{field}@{version}",
        kind="overwritten",
        collection=collection,
        record_id=record_id,
        field=field,
        mine=mine,
        theirs=theirs,
        by=by,
        at_ms=at_ms,
    )


class Overwritten:
    """Fetches what was overwritten while this client was away, and tells the server what was seen."""

    def __init__(self, api: Api, writer: Writer, user_id: Callable[[], str | None]) -> None:
        self._api = api
        self._writer = writer
        self._user_id = user_id
        self._ids: dict[str, str] = {}

    def in_changes(self, changes: Iterable[Change]) -> list[Loss]:
        """Give what changes have replaced of this person's."""
        user_id = self._user_id()
        return [] if user_id is None else losses_in(changes, user_id)

    async def fetch(self) -> None:
        """Learn what was overwritten and not seen yet."""
        try:
            answer = await self._api.request("GET", "/api/overwritten")
        except (UnreachableError, ApiError, NeedsAuthError) as error:
            _log.info("what was overwritten is not known yet: %s", error)
            return
        losses = []
        for item in answer["items"]:
            loss = loss_from_json(item)
            self._ids[loss.id] = item["id"]
            losses.append(loss)
        await self._writer.note_losses(losses)

    async def seen(self, loss: Loss) -> None:
        """Tell the server that its author has seen it. Raises UnreachableError, ApiError, NeedsAuthError."""
        if loss.kind != "overwritten":
            return
        if loss.id not in self._ids:
            await self.fetch()
        known = self._ids.pop(loss.id, None)
        if known is not None:
            await self._api.request("POST", "/api/overwritten/seen", {"ids": [known]})
