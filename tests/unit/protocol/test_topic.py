"""Topics: one canonical form for every spelling, and a code for everything that is none."""

import pytest

from core.protocol.topic import MAX_TOPIC_LENGTH, TopicError, parse_topic
from tests.unit.protocol.catalogue import CATALOGUE, LEAD, NORTH

SPELLINGS = [
    ("*", "*"),
    ("leads", "leads"),
    ("%6ceads", "leads"),
    (f"leads/{LEAD.upper()}", f"leads/{LEAD}"),
    ("leads?status=won,new", "leads?status=new,won"),
    ("leads?status=new,new", "leads?status=new"),
    ("leads?status=won&branch_id=~", "leads?branch_id=~&status=won"),
    (f"leads?branch_id={NORTH.upper()},~", f"leads?branch_id=~,{NORTH}"),
    ("leads?rank=007,+1,-0", "leads?rank=0,1,7"),
    ("leads?worth=1.50,1e2,-0.0", "leads?worth=0,1.5,100"),
    ("leads?is_hot=true", "leads?is_hot=true"),
    ("leads?due_on=2025-01-31", "leads?due_on=2025-01-31"),
    ("leads?seen_at=2025-01-31T12:00:00%2B02:00", "leads?seen_at=2025-01-31T10%3A00%3A00.000000Z"),
    ("leads?name=%7E", "leads?name=%7E"),
    ("leads?name=", "leads?name="),
    ("leads?name=a%2Cb,c%26d", "leads?name=a%2Cb,c%26d"),
    ("leads?name=Émile", "leads?name=%C3%89mile"),
    ("leads?name=1+1", "leads?name=1%2B1"),
]

ERRORS = [
    ("", "unknown_collection"),
    ("nothing", "unknown_collection"),
    ("LEADS", "unknown_collection"),
    ("leads leads", "invalid_topic"),
    ("leads?", "invalid_topic"),
    ("leads?status", "invalid_topic"),
    ("leads?=x", "invalid_topic"),
    ("leads?status=new&&rank=1", "invalid_topic"),
    ("leads?status=new&status=won", "invalid_topic"),
    ("leads?name=%", "invalid_topic"),
    ("leads?name=%FF", "invalid_topic"),
    ("leads?name=%00", "invalid_topic"),
    ("leads?name=" + ",".join("x" * 101), "invalid_topic"),
    ("l" * (MAX_TOPIC_LENGTH + 1), "invalid_topic"),
    (f"leads/{LEAD}?status=new", "invalid_topic"),
    ("leads?nothing=1", "unknown_field"),
    ("leads?notes=x", "not_filterable"),
    ("leads?tags=x", "not_filterable"),
    ("leads/1", "invalid_value"),
    ("leads?status=other", "invalid_value"),
    ("leads?branch_id=north", "invalid_value"),
    ("leads?rank=40000", "invalid_value"),
    ("leads?rank=1.0", "invalid_value"),
    ("leads?worth=NaN", "invalid_value"),
    ("leads?worth=1_000", "invalid_value"),
    ("leads?worth=1e999999", "invalid_value"),
    ("leads?is_hot=yes", "invalid_value"),
    ("leads?due_on=2025-02-30", "invalid_value"),
    ("leads?due_on=20250131", "invalid_value"),
    ("leads?seen_at=2025-01-31T12:00:00", "invalid_value"),
]


@pytest.mark.parametrize(("text", "canonical"), SPELLINGS)
def test_a_topic_has_one_canonical_form(text: str, canonical: str) -> None:
    topic = parse_topic(text, CATALOGUE)
    assert topic.canonical == canonical
    assert parse_topic(canonical, CATALOGUE) == topic


@pytest.mark.parametrize(("text", "code"), ERRORS)
def test_what_is_no_topic_has_a_code(text: str, code: str) -> None:
    with pytest.raises(TopicError) as refused:
        parse_topic(text, CATALOGUE)
    assert refused.value.code == code
