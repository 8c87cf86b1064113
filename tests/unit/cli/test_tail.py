"""A topic in the words of `branchline tail`, as the Python client takes it."""

import pytest

from branchline_client.topic import conditions_of, write_topic
from cli.tail import parts_of


@pytest.mark.parametrize(
    "topic", ["*", "leads", "leads/0197", "leads?branch_id=~&status=new,won", "leads?name=a%2Cb%26c"]
)
def test_a_topic_comes_out_as_it_went_in(topic: str) -> None:
    collection, where, record_id = parts_of(topic)
    assert write_topic(collection, conditions_of(where), record_id) == topic
