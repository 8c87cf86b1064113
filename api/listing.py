"""PURE. What a list request asks for: `?limit=&cursor=&sort=` and a filter a field, read against the
catalogue.

Filters have the grammar of topics (`core.protocol.topic`): a list and a topic with the same filters show
the same records. A column that is called limit, cursor or sort cannot be filtered by here.
"""

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from api.cursor import digest_of
from api.validation import FieldFault, InvalidFieldsError, describe, shorten
from core.protocol.collection import Catalogue, Collection
from core.protocol.topic import Topic, TopicError, encode_part, parse_topic

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
SORTABLE_TYPES = frozenset(
    {"text", "uuid", "integer", "bigint", "numeric", "float", "boolean", "date", "timestamp", "enum"}
)

_OWN = frozenset({"limit", "cursor", "sort"})


@dataclass(frozen=True, slots=True)
class Sort:
    """By which field, which way. Null comes last either way; the id decides between equals, the same way."""

    field: str
    descending: bool

    def __str__(self) -> str:
        return f"-{self.field}" if self.descending else self.field


BY_ID = Sort("id", descending=False)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A list request: what is shown (`topic`), in which order, how much of it, and after which page."""

    topic: Topic
    sort: Sort
    limit: int
    cursor: str | None

    @property
    def digest(self) -> str:
        """Names what is listed in which order: a cursor of one page is good for the next with the same
        digest.
        """
        return digest_of(self.topic.canonical, str(self.sort))

    def address(self, path: str, cursor: str) -> str:
        """Give the address of the page after `cursor`."""
        filters = self.topic.canonical.partition("?")[2]
        parts = [filters] if filters else []
        if self.sort != BY_ID:
            parts.append(f"sort={encode_part(str(self.sort))}")
        return f"{path}?{'&'.join([*parts, f'limit={self.limit}', f'cursor={cursor}'])}"


def parse_list_query(raw: str, collection: Collection, catalogue: Catalogue) -> ListQuery:
    """Read the query string of a list of `collection`.

    Raises InvalidFieldsError, naming each parameter that is wrong.
    """
    own, filters = split_query(raw, _OWN)
    # A page's form writes a space as "+", a topic as "%20".
    filters = filters.replace("+", "%20")
    return ListQuery(
        topic=_parse_filters(filters, collection, catalogue),
        sort=_parse_sort(own.get("sort"), collection),
        limit=parse_limit(own.get("limit")),
        cursor=own.get("cursor"),
    )


def split_query(raw: str, names: frozenset[str]) -> tuple[dict[str, str], str]:
    """Part a query string into the parameters called `names`, decoded, and the rest as it is.

    Raises InvalidFieldsError if one of them comes twice.
    """
    own: dict[str, str] = {}
    rest: list[str] = []
    for part in raw.split("&") if raw else ():
        name, _, value = part.partition("=")
        if name not in names:
            rest.append(part)
        elif name in own:
            raise InvalidFieldsError([FieldFault(name, "one value", "several")])
        else:
            own[name] = unquote_to_bytes(value.replace("+", " ")).decode(errors="replace")
    return own, "&".join(rest)


def refuse_parameters(rest: str) -> None:
    """Raise InvalidFieldsError for parameters that an address does not have."""
    if rest:
        name = shorten(unquote_to_bytes(rest.split("&")[0].partition("=")[0]).decode(errors="replace"))
        raise InvalidFieldsError([FieldFault(name, "a parameter of this address", "an unknown parameter")])


def parse_limit(text: str | None) -> int:
    """Read `limit`: 50 if it is not there, at most 200."""
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        fault = FieldFault("limit", f"a whole number from 1 to {MAX_LIMIT}", shorten(text) or "nothing")
        raise InvalidFieldsError([fault])
    return int(text)


def _parse_filters(filters: str, collection: Collection, catalogue: Catalogue) -> Topic:
    name = encode_part(collection.name)
    try:
        return parse_topic(f"{name}?{filters}" if filters else name, catalogue)
    except TopicError as whole:
        faults = []
        for part in filters.split("&"):
            try:
                parse_topic(f"{name}?{part}", catalogue)
            except TopicError as error:
                faults.append(_fault(part, error, collection))
        # Each for itself is good, and together they are not: too many, or one of them twice.
        raise InvalidFieldsError(faults or [FieldFault("", str(whole), "several")]) from None


def _fault(part: str, error: TopicError, collection: Collection) -> FieldFault:
    name, _, value = part.partition("=")
    name, value = (shorten(unquote_to_bytes(each).decode(errors="replace")) for each in (name, value))
    if error.code in ("unknown_field", "not_filterable"):
        filterable = [field.name for field in collection.fields.values() if field.filterable]
        expected = f"limit, cursor, sort, or a field to filter by: {', '.join(filterable)}"
        came = "an unknown parameter" if error.code == "unknown_field" else "a field that is not one of these"
        return FieldFault(name, expected, came)
    return FieldFault(name, str(error), describe(value))


def _parse_sort(text: str | None, collection: Collection) -> Sort:
    if text is None:
        return BY_ID
    name = text.removeprefix("-")
    field = collection.fields.get(name)
    if name != "id" and (field is None or field.type not in SORTABLE_TYPES):
        expected = f"a field of {collection.name} that has an order, with a minus before it for descending"
        raise InvalidFieldsError([FieldFault("sort", expected, shorten(text) or "nothing")])
    return Sort(name, text.startswith("-"))
