"""A change as one line of a terminal."""

from dataclasses import replace

from branchline_client import Change
from cli.change_line import change_line

CHANGE = Change(
    offset=42,
    collection="leads",
    id="01970000-0000-7000-8000-00000a1b2c3d",
    operation="update",
    version=7,
    fields={
        "status": "won",
        "value": None,
        "updated_at": "2026-05-04T09:30:00.000000Z",
        "updated_by": "u",
    },
    committed_at_ms=1777887000123,
    actor={"user_id": "u", "name": "Ana", "branch_id": None},
)


def test_an_update_shows_the_fields_that_people_set() -> None:
    assert (
        change_line(CHANGE, colours=False) == "09:30:00.123 #42 ~ leads …0a1b2c3d v7 status=won value=~  Ana"
    )


def test_an_insert_shows_what_the_record_is_called() -> None:
    change = replace(CHANGE, operation="insert", fields={"name": "Acme", "status": "new"})
    assert change_line(change, colours=False) == "09:30:00.123 #42 + leads …0a1b2c3d v7 Acme  Ana"


def test_a_write_from_psql_has_nobody_s_name() -> None:
    change = replace(CHANGE, operation="delete", fields={}, actor=None)
    assert (
        change_line(change, colours=False)
        == "09:30:00.123 #42 - leads …0a1b2c3d v7  somebody in the database"
    )


def test_what_people_typed_cannot_act_on_the_terminal() -> None:
    change = replace(CHANGE, fields={"notes": "\x1b]0;owned\x07" + "x" * 100, "name": "a\nb"})
    line = change_line(change, colours=False)
    assert line.isprintable()
    assert "notes=·]0;owned·xxx" in line
    assert len(line) < 160


def test_colours_are_there_only_when_asked_for() -> None:
    assert "\x1b[33m~ leads" in change_line(CHANGE, colours=True)
    assert "\x1b" not in change_line(CHANGE, colours=False)
