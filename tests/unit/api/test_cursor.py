"""Cursors can be neither made up nor carried over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursor import Cursor, CursorForeignError, CursorMalformedError, digest_of, read_cursor, write_cursor

KEY = b"k" * 32
QUERY = digest_of("leads", "name")
CURSOR = Cursor("zoe", "01a1fd3a-ed3a-70af-9ef2-5372118e94aa")


def written(cursor: Cursor = CURSOR) -> str:
    return write_cursor(cursor, key=KEY, organization_id="acme", query=QUERY)


@given(st.none() | st.text(max_size=500), st.text(max_size=40))
def test_a_cursor_is_read_as_it_was_written(value: str | None, identifier: str) -> None:
    cursor = Cursor(value, identifier)
    text = written(cursor)
    assert read_cursor(text, key=KEY, organization_id="acme", query=QUERY) == cursor
    assert text.replace("-", "").replace("_", "").isalnum()


def test_another_organisations_is_foreign_and_another_querys_is_malformed() -> None:
    with pytest.raises(CursorForeignError):
        read_cursor(written(), key=KEY, organization_id="other", query=QUERY)
    with pytest.raises(CursorMalformedError):
        read_cursor(written(), key=KEY, organization_id="acme", query=digest_of("leads", "-name"))
    with pytest.raises(CursorMalformedError):
        read_cursor(written(), key=b"x" * 32, organization_id="acme", query=QUERY)


@given(st.integers(min_value=0), st.characters(codec="ascii"))
def test_a_cursor_with_one_character_changed_is_refused(place: int, character: str) -> None:
    text = written()
    place %= len(text)
    bent = text[:place] + character + text[place + 1 :]
    if bent != text:
        with pytest.raises(CursorMalformedError):
            read_cursor(bent, key=KEY, organization_id="acme", query=QUERY)


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(CursorMalformedError):
        read_cursor(text, key=KEY, organization_id="acme", query=QUERY)


def test_parts_of_a_digest_do_not_run_together() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
