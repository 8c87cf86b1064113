"""PURE. What a person sees: the server's state with their own pending writes on top.

Whenever the server's state moves, the pending writes are undone and redone on the new one: nothing is ever patched.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from branchline_client.change import Record
from branchline_client.mutation import Mutation


def visible_record(
    server: Record | None, pending: Iterable[Mutation], defaults: Mapping[str, Any] | None = None
) -> Record | None:
    """Give a record as its author should see it, None if there is none.

    `pending` are the writes of this record that the server's state does not hold yet, in their order. `defaults` are
    fields that a new record gets if it does not say otherwise.
    """
    record = server
    for mutation in pending:
        match mutation.operation:
            case "insert":
                fields = {**(defaults or {}), **mutation.fields} if record is None else mutation.fields
                record = {"version": 0, **(record or {}), **fields, "id": mutation.id}
            case "update":
                record = None if record is None else {**record, **mutation.fields}
            case "delete":
                record = None
    return record
