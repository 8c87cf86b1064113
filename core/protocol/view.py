"""PURE. Views: what one topic shows to those who may read the same branches and fields.

A **view** is topic × readable branches × readable fields. Everybody with the same view has the same name
for it and shares one encoding of each delta. What a view shows of a change is decided in one place,
`change_for_view`, for the live path, for replay and for the pull endpoint alike; what it shows of a record,
in `View.shows` and `View.strip`.

Fields are let through by name, not held back by name: a column that the catalogue does not know yet is
shown to nobody until it is known who may read it. Its arrival makes another view, so that clients fetch the
records that now have it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from core.principal import Principal
from core.protocol.change import SYSTEM_FIELDS_OF_UPDATE, LoggedChange, Record, WireOperation
from core.protocol.collection import Catalogue, FieldType
from core.protocol.topic import Filter, Topic, TopicError, canonical_numeric

SYSTEM_FIELDS = frozenset({"id", "organization_id", "version", "created_at", "updated_at", "updated_by"})
"""Fields of every record that everybody who reads the record may read."""

BRANCH = "branch_id"
_DIGEST_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Matcher:
    """A filter made ready: the JSON values of `field` that pass, None for null."""

    field: str
    values: frozenset[Any]
    is_numeric: bool

    def admits(self, value: Any) -> bool:
        """Whether a record passes that has `value` in the field."""
        if self.is_numeric and value is not None:
            value = canonical_numeric(str(value))
            # NaN and infinity: no topic can name them, and they are not null.
            return value is not None and value in self.values
        return value in self.values


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a topic shows. Two views of one organisation are the same exactly if their `name` is.

    `fields` gives for each collection in the view the names of the fields that are shown. `branched` names
    those whose records belong to branches; `branches` are the readable ones, None for all. Records of no
    branch are shown to everybody.
    """

    name: str
    topic: Topic
    fields: Mapping[str, frozenset[str]]
    branched: frozenset[str]
    branches: frozenset[str] | None
    matchers: tuple[Matcher, ...]

    def shows(self, collection: str, record: Record) -> bool:
        """Whether a record of this collection is in the view."""
        return (
            collection in self.fields
            and (self.topic.record_id is None or record.get("id") == self.topic.record_id)
            and self._passes(record)
            and self.branch_is_readable(collection, record)
        )

    def branch_is_readable(self, collection: str, record: Record) -> bool:
        """Whether the record belongs to a readable branch or to none."""
        if self.branches is None or collection not in self.branched:
            return True
        branch_id = record.get(BRANCH)
        return branch_id is None or branch_id in self.branches

    def strip(self, collection: str, record: Record) -> Record:
        """Give the record with nothing but the fields that the view shows."""
        shown = self.fields[collection]
        return {name: value for name, value in record.items() if name in shown}

    def _passes(self, record: Record) -> bool:
        return all(matcher.admits(record.get(matcher.field)) for matcher in self.matchers)


def view_of(topic: Topic, reader: Principal, catalogue: Catalogue) -> View:
    """Give what `topic` shows to `reader`.

    Raises TopicError with code `forbidden` if the reader may not read the collection or a field that is
    filtered by: an answer to such a filter would tell the field's values.
    """
    if topic.collection is None:
        names = [name for name, each in catalogue.collections.items() if reader.reads_collection(each)]
    else:
        collection = catalogue.collections.get(topic.collection)
        if collection is None:
            raise TopicError("unknown_collection", f"there is no collection {topic.collection!r}")
        if not reader.reads_collection(collection):
            raise TopicError("forbidden", f"collection {topic.collection!r} is not yours to read")
        hidden = reader.hidden_fields(collection)
        for each in topic.filters:
            if each.field in hidden:
                raise TopicError("forbidden", f"field {each.field!r} is not yours to read")
        names = [topic.collection]
    fields = {
        name: (frozenset(catalogue.collections[name].fields) | SYSTEM_FIELDS)
        - reader.hidden_fields(catalogue.collections[name])
        for name in names
    }
    branched = frozenset(name for name in names if catalogue.collections[name].has_branch)
    branches = reader.readable_branches if branched else None
    return View(
        name=f"{topic.canonical}#{_digest(reader.organization_id, fields, branches)}",
        topic=topic,
        fields=fields,
        branched=branched,
        branches=branches,
        matchers=tuple(_matcher(each) for each in topic.filters),
    )


def change_for_view(view: View, change: LoggedChange) -> dict[str, Any] | None:
    """Give what subscribers of `view` are told of `change`, as JSON values; None if it does not concern them.

    A record that an update moves into the view is an `enter` with the whole record, one that it moves out a
    `leave` without fields. An update that touches only fields which the view hides still comes: the
    record's version, time and author moved.
    """
    if change.collection not in view.fields:
        return None
    if view.topic.record_id is not None and change.id != view.topic.record_id:
        return None
    operation = _operation_in_view(view, change)
    if operation is None:
        return None
    wire: dict[str, Any] = {
        "offset": change.offset,
        "collection": change.collection,
        "id": change.id,
        "operation": operation,
        "version": change.version,
        "fields": _fields_in_view(view, change, operation),
        "clock": change.clock,
        "actor": change.actor,
        "mutation_id": change.mutation_id,
        "transaction": change.transaction,
        "committed_at_ms": change.committed_at_ms,
    }
    if change.overwrote:
        overwrote = _overwrote_in_view(view, change)
        if overwrote:
            wire["overwrote"] = overwrote
    return wire


def _operation_in_view(view: View, change: LoggedChange) -> WireOperation | None:
    shown = view.shows(change.collection, change.record)
    if change.operation != "update":
        return change.operation if shown else None
    was_shown = shown if _cannot_move(view, change) else view.shows(change.collection, _before(change))
    if shown:
        return "update" if was_shown else "enter"
    return "leave" if was_shown else None


def _cannot_move(view: View, change: LoggedChange) -> bool:
    previous = change.previous
    if BRANCH in previous and view.branches is not None:
        return False
    return all(matcher.field not in previous for matcher in view.matchers)


def _before(change: LoggedChange) -> Record:
    return {**change.record, **change.previous}


def _fields_in_view(view: View, change: LoggedChange, operation: WireOperation) -> Record:
    match operation:
        case "insert" | "enter":
            return view.strip(change.collection, change.record)
        case "update":
            shown = view.fields[change.collection]
            record = change.record
            names = (*change.changed, *SYSTEM_FIELDS_OF_UPDATE)
            return {name: record[name] for name in names if name in shown and name in record}
        case "delete" | "leave":
            return {}


def _overwrote_in_view(view: View, change: LoggedChange) -> list[dict[str, Any]]:
    """Keep the overwritten values that this view's subscribers could read before they were overwritten."""
    # An insert that revives a deleted record does not say to which branch that one belonged.
    if change.operation == "insert" and view.branches is not None:
        return []
    if not view.branch_is_readable(change.collection, _before(change)):
        return []
    shown = view.fields[change.collection]
    return [each for each in change.overwrote or () if each.get("field") in shown]


def _matcher(each: Filter) -> Matcher:
    values = frozenset(None if value is None else _json_value(each.type, value) for value in each.values)
    return Matcher(field=each.field, values=values, is_numeric=each.type == "numeric")


def _json_value(type_: FieldType, canonical: str) -> Any:
    match type_:
        case "boolean":
            return canonical == "true"
        case "integer" | "bigint":
            return int(canonical)
        case _:
            return canonical


def _digest(
    organization_id: str, fields: Mapping[str, frozenset[str]], branches: frozenset[str] | None
) -> str:
    rights = [
        # Offsets are an organisation's own: a position of another one must not look like one of this view's.
        organization_id,
        None if branches is None else sorted(branches),
        [[name, sorted(fields[name])] for name in sorted(fields)],
    ]
    return sha256(orjson.dumps(rights)).hexdigest()[:_DIGEST_LENGTH]
