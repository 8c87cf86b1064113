"""What a client may put into a record."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.validation import InvalidFieldsError, Validator, describe
from core.protocol.collection import Collection, Field


def validator(**fields: Field) -> Validator:
    system = {
        name: Field(name, "bigint", nullable=False, has_default=True, writable=False)
        for name in ("id", "organization_id", "version")
    }
    return Validator(Collection("things", {**system, **fields}))


def check(field: Field, value: Any) -> Any:
    return validator(**{field.name: field}).patch({field.name: value})[field.name]


def refused(field: Field, value: Any) -> str:
    with pytest.raises(InvalidFieldsError) as raised:
        check(field, value)
    [fault] = raised.value.faults
    assert fault.field == field.name
    assert fault.came == describe(value)
    return fault.expected


TEXT = Field("f", "text", max_length=5)
MONEY = Field("f", "numeric", precision=6, scale=2)


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        (TEXT, "", ""),
        (TEXT, "🦊🦊🦊🦊🦊", "🦊🦊🦊🦊🦊"),
        (Field("f", "text"), "x" * 100_000, "x" * 100_000),
        (Field("f", "uuid"), "01A1FD3A-ED3A-70AF-9EF2-5372118E94AA", "01a1fd3a-ed3a-70af-9ef2-5372118e94aa"),
        (Field("f", "integer"), -(2**31), -(2**31)),
        (Field("f", "integer", bits=16), 32767, 32767),
        (Field("f", "bigint", bits=64), 2**63 - 1, 2**63 - 1),
        (MONEY, "1", "1.00"),
        (MONEY, "+0012.5", "12.50"),
        (MONEY, "1.500", "1.50"),
        (MONEY, 1.1, "1.10"),
        (MONEY, -9999.99, "-9999.99"),
        (MONEY, 3, "3.00"),
        (MONEY, "-0", "0.00"),
        (Field("f", "numeric"), "1.50", "1.50"),
        (Field("f", "numeric"), 1e22, "10000000000000000000000"),
        (Field("f", "numeric", precision=38, scale=10), "9" * 28 + "." + "1" * 10, "9" * 28 + "." + "1" * 10),
        (Field("f", "numeric", precision=5, scale=-2), "123400", "123400"),
        (Field("f", "boolean"), False, False),
        (Field("f", "float"), 3, 3.0),
        (Field("f", "date"), "2024-02-29", "2024-02-29"),
        (Field("f", "timestamp"), "2026-11-21T07:30:00Z", "2026-11-21T07:30:00.000000Z"),
        (Field("f", "timestamp"), "2026-11-21t07:30:00.12+05:30", "2026-11-21T02:00:00.120000Z"),
        (Field("f", "timestamp"), "2026-11-21T07:30:00.123456000Z", "2026-11-21T07:30:00.123456Z"),
        (Field("f", "timestamp"), "0999-01-01T00:00:00-00:00", "0999-01-01T00:00:00.000000Z"),
        (Field("f", "enum", enum_values=("new", "won")), "won", "won"),
        (Field("f", "json"), {"a": [1, None, {"b": "c"}]}, {"a": [1, None, {"b": "c"}]}),
        (Field("f", "text[]"), [], []),
        (
            Field("f", "uuid[]"),
            ["01A1FD3A-ED3A-70AF-9EF2-5372118E94AA"],
            ["01a1fd3a-ed3a-70af-9ef2-5372118e94aa"],
        ),
        (Field("f", "other"), "2 days", "2 days"),
        (TEXT, None, None),
        (Field("f", "json"), None, None),
    ],
)
def test_a_value_is_taken_in_the_one_way_that_a_record_shows_it(
    field: Field, value: Any, stored: Any
) -> None:
    result = check(field, value)
    assert (result, type(result)) == (stored, type(stored))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (TEXT, [5, True, [], {}, "123456", "\x00"]),
        (Field("f", "uuid"), [5, "", "x", "{01a1fd3a-ed3a-70af-9ef2-5372118e94aa}", "0" * 32, "0" * 36]),
        (Field("f", "integer"), ["5", 5.0, True, 2**31, -(2**31) - 1, 1e3]),
        (Field("f", "integer", bits=16), [32768]),
        (Field("f", "bigint", bits=64), [2**63, 1.5]),
        (
            MONEY,
            ["1.234", 1.234, "10000", 10000, "1e3", "", "x", ".5", "1.", "1_0", "NaN", "٣", True, [], " 1"],
        ),
        (MONEY, [float("inf"), float("nan"), 1e300]),
        (Field("f", "numeric"), [0.1 + 0.2, "1" * 2000, 12345678901234567.0]),
        (Field("f", "boolean"), [0, 1, "true", "t"]),
        (Field("f", "float"), ["1", True, float("inf"), float("nan")]),
        (Field("f", "date"), [5, "2026-02-29", "2026-2-1", "20260201", "2026-02-01T00:00:00Z", "0000-01-01"]),
        (
            Field("f", "timestamp"),
            [
                5,
                "2026-11-21",
                "2026-11-21T07:30:00",
                "2026-11-21 07:30:00Z",
                "2026-11-21T07:30Z",
                "2026-11-21T24:00:00Z",
                "2026-11-21T23:59:60Z",
                "2026-11-21T07:30:00.1234567Z",
                "2026-11-21T07:30:00+25:00",
                "0001-01-01T00:00:00+01:00",
                "infinity",
            ],
        ),
        (Field("f", "enum", enum_values=("new", "won")), ["NEW", "", 5, ["new"], {}]),
        (Field("f", "json"), [{"\x00": 1}, ["a\x00"]]),
        (Field("f", "text[]"), ["a", [None], [5], ["\x00"], ["a"] * 1001, {}]),
        (Field("f", "other"), [5, {}, "x" * 10_001]),
        (Field("f", "text", nullable=False), [None]),
        (Field("f", "json", nullable=False), []),
    ],
)
def test_what_is_not_of_the_type_is_refused_and_named(field: Field, values: list[Any]) -> None:
    for value in values:
        assert refused(field, value), value


def test_json_is_not_read_deeper_than_it_may_be() -> None:
    nested: Any = []
    for _ in range(40):
        nested = [nested]
    assert "levels" in refused(Field("f", "json"), nested)


def test_a_number_that_json_has_rounded_is_asked_for_as_text() -> None:
    assert "as text" in refused(Field("f", "numeric"), 123456789.123456789)


def test_an_insert_needs_what_has_no_default_and_may_not_be_null() -> None:
    things = validator(
        name=Field("name", "text", nullable=False),
        status=Field("status", "text", nullable=False, has_default=True),
        notes=Field("notes", "text"),
    )
    with pytest.raises(InvalidFieldsError) as raised:
        things.insert({"notes": "x"})
    assert [(fault.field, fault.came) for fault in raised.value.faults] == [("name", "nothing")]
    assert things.insert({"name": "x"}) == {"name": "x"}
    assert things.patch({"notes": "x"}) == {"notes": "x"}


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidFieldsError) as raised:
        validator(f=TEXT, g=MONEY).insert({"f": 5, "g": "x", "h": 1, "version": 3})
    assert {fault.field for fault in raised.value.faults} == {"f", "g", "h", "version"}


@pytest.mark.parametrize("name", ["organization_id", "version", "created_at", "updated_by", "field_clocks"])
def test_what_the_server_sets_is_refused_by_name(name: str) -> None:
    for method in ("insert", "patch", "replace"):
        with pytest.raises(InvalidFieldsError) as raised:
            getattr(validator(f=TEXT), method)({name: 1})
        assert "server sets" in raised.value.faults[0].expected


def test_the_id_is_the_clients_to_choose_and_nobodys_to_change() -> None:
    things = validator(f=TEXT)
    identifier = "01a1fd3a-ed3a-70af-9ef2-5372118e94aa"
    assert things.insert({"id": identifier}) == {"id": identifier}
    for bad in ("17", None, 5):
        with pytest.raises(InvalidFieldsError):
            things.insert({"id": bad})
    with pytest.raises(InvalidFieldsError):
        things.patch({"id": identifier})


def test_a_replacement_names_what_cannot_be_null_and_empties_the_rest() -> None:
    things = validator(
        name=Field("name", "text", nullable=False),
        status=Field("status", "text", nullable=False, has_default=True),
        notes=Field("notes", "text"),
        secret=Field("secret", "text"),
    )
    with pytest.raises(InvalidFieldsError) as raised:
        things.replace({"name": "x"})
    assert [fault.field for fault in raised.value.faults] == ["status"]
    assert things.replace({"name": "x"}, kept=frozenset({"status", "secret"})) == {"name": "x", "notes": None}


def test_a_long_value_is_not_repeated_whole() -> None:
    [fault] = _faults(validator(f=TEXT), {"f": "x" * 10_000, "y" * 10_000: 1})[:1]
    assert len(fault.came) < 100
    assert all(len(each.field) < 100 for each in _faults(validator(f=TEXT), {"y" * 10_000: 1}))


def _faults(things: Validator, body: Any) -> Any:
    with pytest.raises(InvalidFieldsError) as raised:
        things.patch(body)
    return raised.value.faults


@given(st.decimals(min_value=-9999, max_value=9999, places=2))
def test_a_number_keeps_its_value_however_it_is_written(number: Decimal) -> None:
    stored = check(MONEY, format(number, "f"))
    assert Decimal(stored) == number
    assert check(MONEY, stored) == stored
    assert check(MONEY, float(number)) == stored


@given(st.datetimes(), st.integers(min_value=-14 * 60, max_value=14 * 60))
def test_a_time_keeps_its_moment_in_whatever_zone_it_is_written(moment: Any, minutes: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    try:
        expected = zoned.astimezone(UTC)
    except OverflowError:
        return
    stored = check(Field("f", "timestamp"), zoned.isoformat())
    assert datetime.fromisoformat(stored) == expected
    assert len(stored) == len("2026-11-21T07:30:00.000000Z")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
every_type = st.sampled_from(
    [
        TEXT,
        MONEY,
        *(
            Field("f", type_, enum_values=("a",), nullable=False)
            for type_ in (
                "uuid", "integer", "bigint", "numeric", "float", "boolean", "date", "timestamp", "enum",
                "json", "text[]", "uuid[]", "other",
            )
        ),
    ]
)  # fmt: skip


@given(every_type, json_values)
def test_whatever_json_comes_is_taken_or_refused_and_nothing_else(field: Field, value: Any) -> None:
    with contextlib.suppress(InvalidFieldsError):
        stored = check(field, value)
        # What was taken is taken again, and means the same.
        assert orjson.dumps(check(field, stored)) == orjson.dumps(stored)
