"""`GET /api/changes`: what a delta would hold, for clients without a socket."""

from collections.abc import Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.answer import JSON
from api.listing import refuse_parameters, split_query
from api.principals import fetch_with_head
from api.problems import ProblemError
from api.request import authenticate, query_of, services_of
from api.validation import FieldFault, InvalidFieldsError, describe
from core.database import Connection, scoped
from core.log import PositionTooOldError, fetch_rows, to_change
from core.protocol.change import LoggedChange
from core.protocol.topic import parse_topic
from core.protocol.view import change_for_view, view_of

DEFAULT_LIMIT = 1_000
MAX_LIMIT = 5_000
STEP = 250
ANSWER_BYTES = 4 * 1024 * 1024
"""How much of the log is read for one answer, whatever `limit` allows: records may be large (I10)."""

_PARAMETERS = frozenset({"topic", "epoch", "offset", "view", "limit"})
_MAX_OFFSET = 2**53


async def pull(request: Request) -> Response:
    """The changes of a topic after a position, complete from `from` to `to`; without a position, where the head is."""
    services = services_of(request)
    claims = authenticate(request)
    own, rest = split_query(query_of(request), _PARAMETERS)
    refuse_parameters(rest)
    catalogue = services.describe().catalogue
    topic = parse_topic(_demanded(own, "topic", "a topic, such as leads"), catalogue)
    since = _position(own)
    limit = _integer(own, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    async with scoped(services.pool, claims.organization_id) as connection:
        principal, epoch, head = await fetch_with_head(connection, claims)
        view = view_of(topic, principal, catalogue)
        if own.get("view") not in (None, view.name):
            raise ProblemError("position_of_another_view", "what you may read of the topic has changed")
        offset = head if since is None else _followed(since, epoch, head)
        changes = await _fetch(connection, claims.organization_id, offset, limit)
    changes, is_partial = _whole(changes)
    to = changes[-1].offset if changes else offset
    body = {
        "topic": topic.canonical,
        "view": view.name,
        "epoch": epoch,
        "from": offset,
        "to": to,
        "head": max(head, to),
        "changes": [wire for each in changes if (wire := change_for_view(view, each)) is not None],
        "more": to < head,
    }
    if is_partial:
        body["partial"] = True
    return Response(orjson.dumps(body), 200, {"cache-control": "private, no-store"}, JSON)


async def _fetch(connection: Connection, organization_id: str, offset: int, limit: int) -> list[LoggedChange]:
    """Changes after the offset, at most `limit`, and no more after ANSWER_BYTES. Raises ProblemError 410."""
    changes: list[LoggedChange] = []
    size = 0
    while len(changes) < limit and size < ANSWER_BYTES:
        step = min(STEP, limit - len(changes))
        try:
            rows = await fetch_rows(connection, organization_id, offset + len(changes), step)
        except PositionTooOldError:
            if changes:  # pruned while it was read: what there is counts, and the next pull is told
                break
            raise ProblemError(
                "position_too_old", f"the log no longer reaches back to offset {offset}"
            ) from None
        size += sum(len(row["record"]) + len(row["previous"]) for row in rows)
        changes.extend(map(to_change, rows))
        if len(rows) < step:
            break
    return changes


def _whole(changes: list[LoggedChange]) -> tuple[list[LoggedChange], bool]:
    """Up to the end of the last whole transaction; all of it, and True, where one is longer than an answer."""
    to = changes[-1].offset if changes else 0
    whole = [each for each in changes if each.last_of_commit <= to]
    if changes and not whole:
        return changes, True
    return whole, False


def _position(query: Mapping[str, str]) -> tuple[str, int] | None:
    if "epoch" not in query and "offset" not in query:
        return None
    epoch = _demanded(query, "epoch", "the epoch of the position")
    return epoch, _integer(query, "offset", None, 0, _MAX_OFFSET)


def _followed(since: tuple[str, int], epoch: str, head: int) -> int:
    """The offset of a position that can be followed; raises ProblemError 410 for another."""
    wanted, offset = since
    if wanted != epoch:
        raise ProblemError("position_of_another_epoch", "expected a position of the epoch that is in force")
    if offset > head:
        raise ProblemError("position_beyond_head", f"expected an offset up to {head}, got {offset}")
    return offset


def _demanded(query: Mapping[str, str], name: str, expected: str) -> str:
    value = query.get(name)
    if not value:
        raise InvalidFieldsError([FieldFault(name, expected, "nothing")])
    return value


def _integer(query: Mapping[str, str], name: str, default: int | None, low: int, high: int) -> int:
    text = query.get(name)
    if text is None and default is not None:
        return default
    is_short = text is not None and text.isascii() and text.isdigit() and len(text) <= len(str(high))
    if text is None or not is_short or not low <= int(text) <= high:
        raise InvalidFieldsError([FieldFault(name, f"an integer from {low} to {high}", describe(text))])
    return int(text)
