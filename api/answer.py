"""Answers that carry records: their bytes as the database encoded them, joined and never parsed where
nothing is hidden.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from core.principal import Principal
from core.protocol.collection import Collection
from core.protocol.view import SYSTEM_FIELDS

JSON = "application/json"


def shown_fields(principal: Principal, collection: Collection) -> frozenset[str]:
    """The fields that the principal may read. By name: a column that the catalogue does not know yet is not
    shown.
    """
    return (frozenset(collection.fields) | SYSTEM_FIELDS) - principal.hidden_fields(collection)


def show(record: bytes, shown: frozenset[str]) -> bytes:
    """Give a record without the fields that are not shown: the very bytes, if there are none."""
    fields = orjson.loads(record)
    if fields.keys() <= shown:
        return record
    return orjson.dumps({name: value for name, value in fields.items() if name in shown})


def show_all(records: Sequence[bytes], shown: frozenset[str]) -> Sequence[bytes]:
    """The same for records of one statement, which all have the same fields: one of them tells for all."""
    if not records or orjson.loads(records[0]).keys() <= shown:
        return records
    return [show(record, shown) for record in records]


def visible_losses(lost: Iterable[dict[str, Any]], shown: frozenset[str]) -> list[dict[str, Any]]:
    """Entries of `lost` that are about fields which may be read; `*` is a whole record, for a delete that lost."""
    return [each for each in lost if each["field"] in shown or each["field"] == "*"]


def etag_of(version: int) -> str:
    """The entity tag of a record's version."""
    return f'"{version}"'


def record_response(
    record: bytes,
    version: int,
    *,
    status: int = 200,
    location: str | None = None,
    lost: Sequence[Mapping[str, Any]] | None = None,
) -> Response:
    """Answer with a record. `lost` lists the fields of a merge that a later write had beaten."""
    headers = {"etag": etag_of(version)}
    if location is not None:
        headers["location"] = location
    if lost:
        record = record[:-1] + b',"lost":' + orjson.dumps(list(lost)) + b"}"
    return Response(record, status, headers, JSON)


def page_response(
    records: Sequence[bytes],
    *,
    next_cursor: str | None,
    members: Mapping[str, Any],
    headers: Mapping[str, str],
) -> Response:
    """Answer with a page: `items`, `next_cursor` and further members."""
    rest = orjson.dumps({"next_cursor": next_cursor, **members})
    return Response(b'{"items":[' + b",".join(records) + b"]," + rest[1:], 200, dict(headers), JSON)


def not_modified(headers: Mapping[str, str]) -> Response:
    """Answer 304: the client has it already."""
    return Response(None, 304, dict(headers))
