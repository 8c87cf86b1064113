"""PURE. Reads a push: which of its mutations can be written, and what is said of the others.

One bad mutation never fails its neighbours, here as in the database.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from api.validation import FieldFault, InvalidFieldsError, Validator, describe
from api.values import parse_uuid
from core.clock import Clock, ClockError, effective_clocks, parse_clock
from core.principal import Principal
from core.protocol.collection import Collection
from core.protocol.identifier import milliseconds_of
from core.protocol.mutation import Mutation, Result

MAX_MUTATIONS = 1_000
REMEMBERED_DAYS = 90
"""How long the answer to a mutation is kept. What is older cannot be told from a repeat, so it is not applied."""

WAY_MS = 15_000
STEADY_MS = 1_000
"""What a request's way may take, and what clocks differ by that are set right: neither is a skew. Were the way's
time taken off as one, a write that went slowly would beat the same client's next one that went fast."""

_BODY = frozenset({"client_id", "now_ms", "mutations"})
_MUTATION = frozenset(
    {"mutation_id", "collection", "id", "operation", "fields", "base_version", "clock", "mode"}
)
_MAX_VERSION = 2**53
_MAX_MS = 10**13
_NO_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Push:
    """The body of a push, read but not judged: `mutations` are as they came."""

    client_id: str
    now_ms: int
    mutations: list[Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A mutation that is not even tried: its result, with words for people in `message`."""

    result: Result
    message: str


def read_push(body: Any) -> Push:
    """Read the envelope; raises InvalidFieldsError with all faults."""
    if not isinstance(body, dict):
        raise InvalidFieldsError([FieldFault("", "an object", describe(body))])
    faults = [
        FieldFault(name, "no such member", describe(value))
        for name, value in body.items()
        if name not in _BODY
    ]
    client_id, now_ms, mutations = body.get("client_id"), body.get("now_ms"), body.get("mutations")
    if not _is_uuid(client_id):
        faults.append(FieldFault("client_id", "a UUID in lower case", describe(client_id)))
    if type(now_ms) is not int or not 0 <= now_ms < _MAX_MS:
        faults.append(FieldFault("now_ms", "the client's time in Unix milliseconds", describe(now_ms)))
    if not isinstance(mutations, list) or len(mutations) > MAX_MUTATIONS:
        came = f"{len(mutations)} of them" if isinstance(mutations, list) else describe(mutations)
        faults.append(FieldFault("mutations", f"a list of at most {MAX_MUTATIONS} mutations", came))
    if faults:
        raise InvalidFieldsError(faults)
    assert isinstance(client_id, str)
    assert isinstance(now_ms, int)
    assert isinstance(mutations, list)
    return Push(client_id, now_ms, mutations)


def skew_of(client_ms: int, server_ms: int) -> int:
    """By how much the client's clock is ahead of the server's: 0 where its request's way may be all the difference."""
    ahead_ms = client_ms - server_ms
    return 0 if -WAY_MS <= ahead_ms <= STEADY_MS else ahead_ms


class PushReader:
    """Judges a push's mutations one by one, for one principal and one catalogue.

    `validator` gives the validator of a collection by its name.
    """

    def __init__(
        self,
        principal: Principal,
        collections: Mapping[str, Collection],
        validator: Callable[[str], Validator],
        *,
        now_ms: int,
    ) -> None:
        self._principal = principal
        self._collections = collections
        self._validator = validator
        self._now_ms = now_ms
        self._oldest_ms = now_ms - REMEMBERED_DAYS * 86_400_000

    def read(self, push: Push) -> list[Mutation | Refusal]:
        """What can be written, with effective clocks, and what cannot; in the order in which they came."""
        read = [self._read(item, push.client_id) for item in push.mutations]
        skew_ms = skew_of(push.now_ms, self._now_ms)
        clocks = [parse_clock(each.clock) for each in read if isinstance(each, Mutation) and each.clock]
        effective = iter(effective_clocks(clocks, skew_ms, self._now_ms))
        result: list[Mutation | Refusal] = []
        for each in read:
            if isinstance(each, Refusal):
                result.append(each)
                continue
            clock = next(effective) if each.clock else None
            result.append(self._dated(each, clock, skew_ms))
        return result

    def _dated(self, mutation: Mutation, clock: Clock | None, skew_ms: int) -> Mutation | Refusal:
        # The id as well: a client may stamp a write again, and it is by the id that a repeat is known.
        id_ms = milliseconds_of(mutation.mutation_id)
        ages = [clock.ms] if clock else []
        if id_ms is not None:
            ages.append(id_ms - skew_ms)
        if ages and min(ages) < self._oldest_ms:
            return _refuse(
                mutation.mutation_id,
                "expired",
                f"it is older than {REMEMBERED_DAYS} days, and whether it was written before is not known any more",
            )
        return replace(mutation, clock=str(clock) if clock else None)

    def _read(self, item: Any, client_id: str) -> Mutation | Refusal:
        if not isinstance(item, dict) or not _is_uuid(item.get("mutation_id")):
            came = item.get("mutation_id") if isinstance(item, dict) else item
            return _refuse(
                _NO_ID, "invalid", f"mutation_id: expected a UUID in lower case, got {describe(came)}"
            )
        mutation_id = item["mutation_id"]
        fault = self._fault(item, client_id)
        if fault is not None:
            return _refuse(mutation_id, "invalid", fault)
        collection = self._collections.get(item["collection"])
        if collection is None or not self._principal.reads_collection(collection):
            return _refuse(
                mutation_id, "unknown_collection", f"there is no collection {describe(item['collection'])}"
            )
        if not self._principal.writes_collection(collection):
            return _refuse(
                mutation_id, "forbidden", f"role {self._principal.role} does not write to {collection.name}"
            )
        try:
            fields = self._fields(item, collection)
        except InvalidFieldsError as error:
            words = "; ".join(f"{f.field}: expected {f.expected}, got {f.came}" for f in error.faults[:5])
            return _refuse(mutation_id, "invalid", words, detail=error.faults[0].field)
        return Mutation(
            mutation_id,
            collection.name,
            item["id"],
            item["operation"],
            fields,
            item.get("base_version"),
            item.get("clock"),
            item.get("mode"),
        )

    def _fields(self, item: dict[str, Any], collection: Collection) -> dict[str, Any]:
        validator = self._validator(collection.name)
        body = item.get("fields")
        if body is None:
            body = {}
        if not isinstance(body, dict):
            raise InvalidFieldsError([FieldFault("fields", "an object", describe(body))])
        match item["operation"]:
            case "insert":
                fields = validator.insert(body)
                if fields.pop("id", item["id"]) != item["id"]:
                    raise InvalidFieldsError([FieldFault("id", "the mutation's id", "another")])
            case "update":
                fields = validator.patch(body)
            case _:
                if body:
                    raise InvalidFieldsError([FieldFault("fields", "nothing for a delete", describe(body))])
                fields = {}
        hidden = sorted(fields.keys() & self._principal.hidden_fields(collection))
        if hidden:
            raise InvalidFieldsError(
                [FieldFault(name, f"a field of {collection.name}", "an unknown field") for name in hidden]
            )
        return fields

    def _fault(self, item: dict[str, Any], client_id: str) -> str | None:
        """What is wrong with the mutation's own members, in words."""
        unknown = sorted(item.keys() - _MUTATION)
        if unknown:
            return f"{unknown[0][:60]}: expected no such member"
        checks = (
            ("collection", "a collection's name", isinstance(item.get("collection"), str)),
            ("id", "a UUID in lower case", _is_uuid(item.get("id"))),
            (
                "operation",
                "insert, update or delete",
                item.get("operation") in ("insert", "update", "delete"),
            ),
            ("base_version", "a version", _is_version(item.get("base_version"))),
            ("mode", "merge or strict", item.get("mode") in (None, "merge", "strict")),
        )
        for name, expected, is_right in checks:
            if not is_right:
                return f"{name}: expected {expected}, got {describe(item.get(name))}"
        return _clock_fault(item.get("clock"), client_id)


def _clock_fault(clock: Any, client_id: str) -> str | None:
    if clock is None:
        return None
    try:
        parsed = parse_clock(clock) if isinstance(clock, str) else None
    except ClockError as error:
        return f"clock: {error}"
    if parsed is None:
        return f"clock: expected text, got {describe(clock)}"
    # Ties are broken by it: nobody stamps in another's name.
    return None if parsed.client_id == client_id else "clock: expected one that ends in the push's client_id"


def _is_uuid(value: Any) -> bool:
    try:
        return bool(parse_uuid(value) == value)
    except ValueError:
        return False


def _is_version(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value < _MAX_VERSION)


def _refuse(mutation_id: str, code: str, message: str, *, detail: str | None = None) -> Refusal:
    return Refusal(Result(mutation_id, "rejected", code=code, detail=detail), message)
