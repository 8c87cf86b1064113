"""A live collection: own writes show at once, are confirmed by the log, and never flicker between."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchline_client.change import Change, Record
from branchline_client.mutation import Mutation, MutationOperation, Result
from branchline_client.ordering import key_of, parse_sort
from branchline_client.position import Position
from branchline_client.queue import Queue
from branchline_client.topic import Where, conditions_of
from branchline_client.view import LiveView, Update


def at(offset: int) -> Position:
    return Position("e", offset, "v")


def record(record_id: str, version: int = 1, **fields: Any) -> Record:
    return {"id": record_id, "version": version, "name": record_id, **fields}


class Bench:
    """A view with its queue."""

    def __init__(self, where: Where | None = None, sort: str | None = None) -> None:
        self.queue = Queue()
        self.view = LiveView("leads", conditions_of(where), parse_sort(sort), self.queue)
        self.count = 0

    def snapshot(self, *records: Record, offset: int = 10) -> Update:
        return self.view.replaced([("leads", each) for each in records], at(offset))

    def change(self, offset: int, record_id: str, operation: Any, version: int, **more: Any) -> Update:
        fields = more.pop("fields", {})
        mutation_id = more.pop("mutation_id", None)
        ids = () if mutation_id is None else (mutation_id,)
        change = Change(
            offset, "leads", record_id, operation, version, fields, mutation_id=mutation_id, mutation_ids=ids
        )
        return self.view.advanced([change], at(offset))

    def write(self, operation: MutationOperation, record_id: str, **fields: Any) -> tuple[str, Update]:
        self.count += 1
        mutation = Mutation(f"m{self.count}", "leads", record_id, operation, fields)
        self.queue.add(mutation)
        self.queue.kept(mutation.mutation_id)
        return mutation.mutation_id, self.view.queue_changed([record_id])

    def answer(self, result: Result, offset: int) -> Update:
        batch = self.queue.next_batch(limit=10, limit_bytes=10**6, size_of=lambda _: 1)
        self.queue.settle(batch, [result], "e", offset, 0)
        pending = self.queue.get(result.mutation_id)
        return self.view.queue_changed([pending.mutation.id] if pending is not None else ["a", "b", "c"])

    @property
    def names(self) -> list[str]:
        return [self.view.visible[each]["name"] for each in self.view.ids()]


def kinds(update: Update) -> list[tuple[str, str]]:
    return [(effect.kind, effect.id) for effect in update.effects]


def test_a_snapshot_shows_all_and_says_so() -> None:
    bench = Bench(sort="name")
    update = bench.snapshot(record("b"), record("a"))
    assert update.is_reset
    assert bench.names == ["a", "b"]
    assert sorted(kinds(update)) == [("added", "a"), ("added", "b")]


def test_an_own_write_shows_at_once_and_its_delta_changes_nothing_more() -> None:
    bench = Bench()
    bench.snapshot(record("a"))
    mutation_id, update = bench.write("update", "a", name="mine")
    assert [(effect.fields, effect.change) for effect in update.effects] == [(frozenset({"name"}), None)]
    update = bench.change(11, "a", "update", 2, fields={"name": "mine"}, mutation_id=mutation_id)
    # The version is the system's own; what a person sees is as before.
    assert [effect.fields for effect in update.effects] == [frozenset()]
    bench.answer(Result(mutation_id, "applied", version=2), offset=11)
    assert bench.names == ["mine"]


def test_between_answer_and_delta_nothing_flickers() -> None:
    bench = Bench()
    bench.snapshot(record("a"))
    mutation_id, _ = bench.write("update", "a", name="mine")
    assert bench.answer(Result(mutation_id, "applied", version=2), offset=11).effects == ()
    assert bench.names == ["mine"]
    bench.change(11, "a", "update", 2, fields={"name": "mine"}, mutation_id=mutation_id)
    assert bench.names == ["mine"]
    pending = bench.queue.get(mutation_id)
    assert pending is not None
    assert bench.view.holds(pending)


def test_others_changes_show_below_an_own_pending_one() -> None:
    bench = Bench()
    bench.snapshot(record("a", score=1))
    bench.write("update", "a", name="mine")
    update = bench.change(11, "a", "update", 2, fields={"name": "theirs", "score": 2})
    assert [effect.fields for effect in update.effects] == [{"score"}]
    assert bench.view.visible["a"]["name"] == "mine"


def test_a_refused_write_is_undone() -> None:
    bench = Bench()
    bench.snapshot(record("a"))
    mutation_id, _ = bench.write("update", "a", name="mine")
    update = bench.answer(Result(mutation_id, "rejected", code="invalid"), offset=11)
    assert [(effect.before or {})["name"] for effect in update.effects] == ["mine"]
    assert bench.names == ["a"]


def test_a_write_whose_delta_never_comes_is_settled_by_the_position() -> None:
    """It left the view, or lost: the log's position says that all of it was told."""
    bench = Bench(where={"status": "new"})
    bench.snapshot(record("a", status="new"))
    mutation_id, update = bench.write("insert", "b", name="b", status="new")
    assert kinds(update) == [("added", "b")]
    bench.answer(Result(mutation_id, "applied", version=1), offset=12)
    assert bench.names == ["a", "b"]
    update = bench.view.advanced([], at(12))
    assert kinds(update) == [("removed", "b")]


def test_a_write_that_takes_a_record_out_of_the_view_takes_it_off_the_list() -> None:
    bench = Bench(where={"status": ["new", "won"]})
    bench.snapshot(record("a", status="new"), record("b", status="won"))
    mutation_id, update = bench.write("update", "a", status="lost")
    assert kinds(update) == [("removed", "a")]
    update = bench.change(11, "a", "leave", 2, mutation_id=mutation_id)
    assert update.effects == ()


def test_an_insert_that_the_view_does_not_show_is_not_shown() -> None:
    bench = Bench(where={"status": "new"})
    bench.snapshot()
    _, update = bench.write("insert", "a", status="lost")
    assert update.effects == ()


def test_effects_say_where_a_record_was_and_is() -> None:
    bench = Bench(sort="name")
    bench.snapshot(record("a"), record("b"), record("c"))
    update = bench.change(11, "a", "update", 2, fields={"name": "z"})
    [effect] = update.effects
    assert (effect.previous_index, effect.index) == (0, 2)
    assert bench.view.index_of("a") == 2
    update = bench.change(12, "b", "delete", 2)
    assert [(effect.kind, effect.previous_index, effect.index) for effect in update.effects] == [
        ("removed", 0, None)
    ]


def test_lost_access_clears_all() -> None:
    bench = Bench()
    bench.snapshot(record("a"))
    bench.write("insert", "b")
    update = bench.view.cleared()
    assert update.is_reset
    assert ("removed", "a") in kinds(update)
    assert bench.view.position is None


def test_a_record_that_is_named_twice_changes_once() -> None:
    bench = Bench()
    bench.snapshot(record("a"))
    mutation = Mutation("m", "leads", "a", "delete")
    bench.queue.add(mutation)
    assert kinds(bench.view.queue_changed(["a", "a"])) == [("removed", "a")]


def test_a_record_that_does_not_change_for_people_has_no_effect() -> None:
    bench = Bench()
    bench.snapshot(record("a"))
    assert bench.snapshot(record("a")).effects == ()


@settings(deadline=None)
@given(st.data())
def test_replaying_the_effects_gives_what_is_visible_in_order(data: st.DataObject) -> None:
    """A list on a screen that applies each effect at its places shows the records in order."""
    bench = Bench(sort=data.draw(st.sampled_from(["name", "-name", "score"])))
    offset = 10
    shown: list[str] = []

    def follow(update: Update) -> None:
        if len(update.effects) > 64 or update.is_reset:
            shown[:] = bench.view.ids()
            return
        for effect in update.effects:
            if effect.previous_index is not None:
                assert shown.pop(effect.previous_index) == effect.id
            if effect.index is not None:
                shown.insert(effect.index, effect.id)

    follow(bench.snapshot(*(record(each, score=None) for each in "abc")))
    versions = dict.fromkeys("abcde", 1)
    for _ in range(data.draw(st.integers(0, 15))):
        record_id = data.draw(st.sampled_from("abcde"))
        name = data.draw(st.sampled_from(["x", "y", "É", "e"]))
        versions[record_id] += 1
        offset += 1
        held = record_id in bench.view.mirror.records
        match data.draw(st.sampled_from(["change", "write", "delete"])):
            case "change" if held:
                follow(bench.change(offset, record_id, "update", versions[record_id], fields={"name": name}))
            case "change":
                fields = record(record_id, versions[record_id], name=name, score=1)
                follow(bench.change(offset, record_id, "insert", versions[record_id], fields=fields))
            case "write":
                follow(bench.write("update", record_id, name=name)[1])
            case _:
                follow(bench.change(offset, record_id, "delete", versions[record_id]))
    assert shown == bench.view.ids()
    keys = [key_of(bench.view.sort, bench.view.visible[each]) for each in shown]
    assert keys == sorted(keys)


@pytest.mark.parametrize("count", [3, 500])
def test_many_effects_at_once_end_as_one_by_one(count: int) -> None:
    bench = Bench(sort="name")
    bench.snapshot(*(record(f"r{n:04d}") for n in range(count)))
    changes = [
        Change(11 + n, "leads", f"r{n:04d}", "update", 2, {"name": f"{(n * 7919) % count:04d}"})
        for n in range(count)
    ]
    bench.view.advanced(changes, at(11 + count))
    assert bench.names == sorted(f"{(n * 7919) % count:04d}" for n in range(count))
