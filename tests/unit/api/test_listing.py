"""Query strings of lists, and the statements that they become."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursor import Cursor
from api.listing import BY_ID, Sort, parse_list_query, split_query
from api.statement import page_statements, quote_identifier, record_statement
from api.validation import InvalidFieldsError
from core.protocol.collection import Catalogue, Collection, Field

LEADS = Collection(
    "leads",
    {
        "id": Field("id", "uuid", nullable=False, writable=False, filterable=True),
        "branch_id": Field("branch_id", "uuid", filterable=True),
        "name": Field("name", "text", nullable=False, max_length=200),
        "status": Field("status", "enum", nullable=False, enum_values=("new", "won"), filterable=True),
        "notes": Field("notes", "text", max_length=20_000),
        "score": Field("score", "integer", filterable=True),
        "content": Field("content", "json"),
    },
)
PLAIN = Collection(
    "plain", {"id": Field("id", "uuid"), 'odd"name': Field('odd"name', "text", filterable=True)}
)
CATALOGUE = Catalogue("1", {"leads": LEADS, "plain": PLAIN})


def parse(raw: str) -> object:
    return parse_list_query(raw, LEADS, CATALOGUE)


def test_nothing_asked_for_is_fifty_by_id() -> None:
    query = parse_list_query("", LEADS, CATALOGUE)
    assert (query.limit, query.sort, query.cursor, query.topic.filters) == (50, BY_ID, None, ())


def test_two_spellings_of_one_query_are_one() -> None:
    one = parse_list_query("sort=name&status=won,new&score=01", LEADS, CATALOGUE)
    two = parse_list_query("score=1&limit=7&status=new,won&sort=name&cursor=x", LEADS, CATALOGUE)
    assert one.digest == two.digest
    assert one.digest != parse_list_query("sort=-name&status=won,new&score=1", LEADS, CATALOGUE).digest


def test_a_page_address_leads_to_the_same_query() -> None:
    query = parse_list_query("sort=-name&status=won&limit=7", LEADS, CATALOGUE)
    again = parse_list_query(query.address("/api/leads", "abc").partition("?")[2], LEADS, CATALOGUE)
    assert (again.digest, again.limit, again.cursor) == (query.digest, 7, "abc")


@pytest.mark.parametrize(
    "raw",
    ["limit=0", "limit=201", "limit=+5", "limit=٣", "sort=", "sort=content", "sort=--name", "x=1", "=1", "&",
     "status", "status=", "status=new&status=won", "name=x", "score=x", "cursor=a&cursor=b", "%zz=1"],
)  # fmt: skip
def test_what_means_nothing_is_refused(raw: str) -> None:
    with pytest.raises(InvalidFieldsError):
        parse(raw)


@given(st.text())
def test_any_query_is_read_or_refused(raw: str) -> None:
    with contextlib.suppress(InvalidFieldsError):
        parse(raw)


def test_a_plus_is_a_space_as_forms_write_it() -> None:
    own, rest = split_query("cursor=a+b&limit=5&x=y", frozenset({"cursor", "limit"}))
    assert (own, rest) == ({"cursor": "a b", "limit": "5"}, "x=y")


def test_every_statement_names_the_organisation_and_the_branches_first() -> None:
    for sort in (BY_ID, Sort("name", True), Sort("score", False)):
        for after in (None, Cursor("5", "x")):
            statements = page_statements(
                LEADS, "acme", filters=(), branches=frozenset({"b"}), sort=sort, after=after, limit=10
            )
            assert statements
            for statement in statements:
                assert (
                    "WHERE t.organization_id = $1 AND (t.branch_id IS NULL OR t.branch_id = ANY($2"
                    in statement.sql
                )
                assert statement.parameters[:2] == ("acme", ["b"])


def test_nobody_of_no_branch_reads_more_than_the_records_of_none() -> None:
    statement = record_statement(LEADS, "acme", "x", frozenset())
    assert statement.parameters == ("acme", "x", [])


def test_a_nullable_field_takes_two_statements_until_only_nulls_are_left() -> None:
    def count(sort: Sort, after: Cursor | None) -> int:
        return len(
            page_statements(LEADS, "acme", filters=(), branches=None, sort=sort, after=after, limit=10)
        )

    assert count(Sort("score", False), None) == 2
    assert count(Sort("score", False), Cursor("5", "x")) == 2
    assert count(Sort("score", False), Cursor(None, "x")) == 1
    assert count(Sort("name", False), None) == 1


def test_values_are_parameters_and_names_are_quoted() -> None:
    assert quote_identifier('a"b') == '"a""b"'
    query = parse_list_query("odd%22name=x%27%3B--", PLAIN, CATALOGUE)
    [statement] = page_statements(
        PLAIN, "acme", filters=query.topic.filters, branches=None, sort=BY_ID, after=None, limit=1
    )
    assert "--" not in statement.sql
    assert 't."odd""name" = ANY($2' in statement.sql
    assert ["x';--"] in statement.parameters
