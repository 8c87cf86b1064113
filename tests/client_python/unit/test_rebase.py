"""What a person sees is the server's state with their own writes on top."""

from branchline_client.mutation import Mutation
from branchline_client.rebase import visible_record

SERVER = {"id": "a", "version": 3, "name": "server", "score": 1}


def update(**fields: object) -> Mutation:
    return Mutation("m", "leads", "a", "update", dict(fields))


def test_without_pending_writes_it_is_the_servers_record_itself() -> None:
    assert visible_record(SERVER, []) is SERVER


def test_updates_lie_on_top_in_their_order() -> None:
    assert visible_record(SERVER, [update(name="x"), update(name="y")]) == {**SERVER, "name": "y"}


def test_what_others_change_meanwhile_shows_below() -> None:
    assert visible_record({**SERVER, "score": 9, "version": 4}, [update(name="x")]) == {
        "id": "a",
        "version": 4,
        "name": "x",
        "score": 9,
    }


def test_a_new_record_shows_with_what_the_server_will_add() -> None:
    insert = Mutation("m", "leads", "a", "insert", {"name": "new"})
    assert visible_record(None, [insert, update(score=5)], {"branch_id": "north"}) == {
        "id": "a",
        "version": 0,
        "name": "new",
        "score": 5,
        "branch_id": "north",
    }


def test_a_deleted_record_is_gone_and_an_update_of_none_shows_nothing() -> None:
    assert visible_record(SERVER, [update(name="x"), Mutation("m", "leads", "a", "delete")]) is None
    assert visible_record(None, [update(name="x")]) is None
