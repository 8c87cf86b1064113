"""Conflation: whoever takes the states ends with the same records as whoever took the steps, and misses no mutation."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.protocol.conflation import WireChange, conflate

Records = dict[str, dict[str, Any]]


def step(operation: str, offset: int, record_id: str = "a", **fields: Any) -> WireChange:
    return {
        "offset": offset,
        "collection": "leads",
        "id": record_id,
        "operation": operation,
        "version": offset,
        "fields": fields,
        "mutation_id": f"m{offset}",
    }


def apply(records: Records, changes: list[WireChange]) -> Records:
    """What a client makes of changes."""
    held = {key: dict(record) for key, record in records.items()}
    for change in changes:
        match change["operation"]:
            case "insert" | "enter":
                held[change["id"]] = dict(change["fields"])
            case "update":
                held[change["id"]] |= change["fields"] | {"version": change["version"]}
            case _:
                held.pop(change["id"], None)
    return held


@st.composite
def histories(draw: st.DrawFn) -> tuple[Records, list[WireChange]]:
    """Records that a view shows, and steps that can follow there."""
    whole = dict.fromkeys("xyz", 0)
    shown = {each: {**whole, "version": 0} for each in "abc" if draw(st.booleans())}
    records, steps = dict(shown), []
    for offset in range(1, draw(st.integers(1, 25)) + 1):
        record_id = draw(st.sampled_from("abc"))
        if record_id in records:
            operation = draw(st.sampled_from(["update", "update", "delete", "leave"]))
        else:
            operation = draw(st.sampled_from(["insert", "enter"]))
        fields: dict[str, Any] = {}
        if operation == "update":
            fields = dict.fromkeys(draw(st.sets(st.sampled_from("xyz"), min_size=1)), offset)
        elif operation in ("insert", "enter"):
            fields = dict.fromkeys("xyz", offset) | {"version": offset}
        change = step(operation, offset, record_id, **fields)
        if draw(st.integers(0, 9)) == 0:
            change["overwrote"] = [{"field": "x", "value": offset}]
        steps.append(change)
        records = apply(records, [change])
    return shown, steps


@given(histories())
def test_the_states_come_to_what_the_steps_come_to(history: tuple[Records, list[WireChange]]) -> None:
    shown, steps = history
    latest = conflate(steps)
    assert apply(shown, latest) == apply(shown, steps)
    assert len({each["id"] for each in latest}) == len(latest)
    offsets = [each["offset"] for each in latest]
    assert offsets == sorted(offsets)
    assert offsets[-1] == steps[-1]["offset"]


@given(histories())
def test_no_mutation_and_no_overwritten_value_is_missed(history: tuple[Records, list[WireChange]]) -> None:
    _, steps = history
    latest = conflate(steps)
    assert sorted(m for each in latest for m in each["mutation_ids"]) == sorted(
        s["mutation_id"] for s in steps
    )
    told = [value for each in latest for value in each.get("overwrote", [])]
    assert sorted(v["value"] for v in told) == [s["offset"] for s in steps if "overwrote" in s]


def test_a_record_that_came_is_told_whole() -> None:
    [one] = conflate([step("insert", 1, x=1, y=1, version=1), step("update", 2, x=2)])
    assert (one["operation"], one["fields"]) == ("insert", {"x": 2, "y": 1, "version": 2})


def test_a_record_that_left_and_came_back_is_told_whole() -> None:
    [one] = conflate([step("leave", 1), step("enter", 2, x=2, version=2), step("update", 3, y=3)])
    assert (one["operation"], one["fields"]) == ("enter", {"x": 2, "y": 3, "version": 3})


def test_steps_of_collections_with_equal_ids_are_apart() -> None:
    other = {**step("update", 2, x=2), "collection": "deals"}
    assert len(conflate([step("update", 1, x=1), other])) == 2


def test_the_steps_themselves_are_left_as_they_are() -> None:
    steps = [step("insert", 1, x=1, version=1), step("update", 2, x=2)]
    conflate(steps)
    assert steps[0]["fields"] == {"x": 1, "version": 1}
    assert "mutation_ids" not in steps[0]
