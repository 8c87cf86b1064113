"""PURE. The latest state of each record in place of every step on the way to it.

Whoever does not keep up is brought up with the state that counts. Nothing that a client acts upon is lost on the way:
`mutation_ids` holds the mutations of all steps, so that each write that a client sees confirmed is confirmed, and
`overwrote` all values that were replaced unseen.
"""

from collections.abc import Iterable
from typing import Any

WireChange = dict[str, Any]
"""What a view's subscribers are told of a change, as `core.protocol.view.change_for_view` gives it."""

_WHOLE = frozenset({"insert", "enter"})
_GONE = frozenset({"delete", "leave"})


def conflate(steps: Iterable[WireChange]) -> list[WireChange]:
    """Give one change a record, in the order of their offsets: what the steps, in order, come to for one view.

    A record that the view did not show before is an `insert` or `enter` with the whole of it, one that it showed and
    shows is an `update` with all fields that any step touched, or an `enter` if it had left meanwhile. One that is gone
    is a `delete` or `leave`, also where the view had not shown it before.
    """
    latest: dict[tuple[str, str], WireChange] = {}
    for step in steps:
        key = (step["collection"], step["id"])
        before = latest.pop(key, None)
        # Put in anew: so the records are in the order of their last steps.
        latest[key] = _first(step) if before is None else _fold(before, step)
    return list(latest.values())


def _first(step: WireChange) -> WireChange:
    mutation_id = step["mutation_id"]
    return {**step, "mutation_ids": [mutation_id] if mutation_id is not None else []}


def _fold(before: WireChange, step: WireChange) -> WireChange:
    operation, fields = step["operation"], step["fields"]
    if operation == "update":
        fields = {**before["fields"], **fields}
        if before["operation"] in _WHOLE:
            operation = before["operation"]
            fields["version"] = step["version"]
    elif operation in _WHOLE and before["operation"] in _GONE:
        operation = "enter"
    folded: WireChange = {**step, "operation": operation, "fields": fields}
    folded["mutation_ids"] = before["mutation_ids"] + _first(step)["mutation_ids"]
    overwrote = before.get("overwrote", []) + step.get("overwrote", [])
    if overwrote:
        folded["overwrote"] = overwrote
    return folded
