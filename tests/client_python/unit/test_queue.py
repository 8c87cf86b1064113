"""The queue: in order per record, nothing waits in vain (N2), nothing is dropped (I9), what was sent is frozen (I6)."""

from dataclasses import replace
from typing import Any

import pytest

from branchline_client.clock import parse_clock
from branchline_client.mutation import InboxEntry, Mode, Mutation, MutationOperation, Result, result_from_json
from branchline_client.queue import DEPENDENCY_CODE, Pending, Queue, Settlement, Stage
from branchline_client.rebase import visible_record

ME = "00000000-0000-4000-8000-00000000000a"
NOW = 1_700_000_000_000


def clock(ms: int, counter: int = 0) -> str:
    return f"{NOW + ms:013d}-{counter:04x}-{ME}"


class Bench:
    """A queue, and a server that answers as it is told."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.count = 0

    def add(
        self,
        operation: MutationOperation,
        record: str,
        fields: dict[str, Any] | None = None,
        base_version: int | None = None,
        mode: Mode | None = None,
        collection: str = "leads",
        is_kept: bool = True,
    ) -> str:
        self.count += 1
        mutation = Mutation(
            f"m{self.count}",
            collection,
            record,
            operation,
            fields or {},
            base_version,
            mode,
            clock(self.count),
        )
        self.queue.add(mutation)
        if is_kept:
            self.queue.kept(mutation.mutation_id)
        return mutation.mutation_id

    def batch(self, limit: int = 1_000, limit_bytes: int = 10**6) -> list[Pending]:
        return self.queue.next_batch(limit=limit, limit_bytes=limit_bytes, size_of=lambda _: 100)

    def ids(self, limit: int = 1_000, limit_bytes: int = 10**6) -> list[str]:
        return [each.mutation.mutation_id for each in self.batch(limit, limit_bytes)]

    def answer(self, *results: Result, epoch: str = "e", offset: int = 10) -> Settlement:
        sent = [each for each in self.queue if each.stage is Stage.SENT]
        return self.queue.settle(sent, results, epoch, offset, NOW)


def applied(mutation_id: str, version: int = 1, **more: Any) -> Result:
    return Result(mutation_id, "applied", version=version, **more)


def rejected(mutation_id: str, code: str, **more: Any) -> Result:
    return Result(mutation_id, "rejected", code=code, **more)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_write_is_sent_when_it_is_kept_and_not_before(bench: Bench) -> None:
    bench.add("insert", "a", is_kept=False)
    assert bench.ids() == []
    bench.queue.kept("m1")
    assert bench.ids() == ["m1"]


def test_a_write_that_is_not_kept_yet_holds_up_its_own_record_only(bench: Bench) -> None:
    bench.add("update", "a", is_kept=False)
    bench.add("update", "a")
    bench.add("update", "b")
    assert bench.ids() == ["m3"]


def test_a_write_is_sent_once_until_it_is_answered(bench: Bench) -> None:
    bench.add("insert", "a")
    assert bench.ids() == ["m1"]
    assert bench.ids() == []
    bench.queue.unsent(["m1"])
    assert bench.ids() == ["m1"]


def test_writes_of_one_record_go_one_after_the_other_others_go_along(bench: Bench) -> None:
    bench.add("insert", "a")
    bench.add("update", "a", {"name": "x"})
    bench.add("insert", "b")
    assert bench.ids() == ["m1", "m3"]
    bench.answer(applied("m1"), applied("m3"))
    assert bench.ids() == ["m2"]


def test_updates_that_merge_share_a_request(bench: Bench) -> None:
    for n in range(3):
        bench.add("update", "a", {"n": n}, mode="merge")
    bench.add("update", "a", {"n": 9}, mode="strict")
    assert bench.ids() == ["m1", "m2", "m3"]


def test_a_request_has_a_limit_in_number_and_in_size(bench: Bench) -> None:
    for n in range(5):
        bench.add("insert", f"r{n}")
    assert bench.ids(limit=2) == ["m1", "m2"]
    assert bench.ids(limit_bytes=250) == ["m3", "m4"]
    assert bench.ids(limit_bytes=10) == ["m5"]


def test_what_refers_to_a_new_record_goes_with_its_insert_or_after_it(bench: Bench) -> None:
    bench.add("insert", "c1", collection="clients", is_kept=False)
    bench.add("insert", "k1", {"client_id": "c1"}, collection="contacts")
    assert bench.ids() == []
    bench.queue.kept("m1")
    assert bench.ids() == ["m1", "m2"]


def test_a_refused_write_leaves_the_queue_and_blocks_nothing(bench: Bench) -> None:
    bench.add("update", "a", {"score": 1_000})
    bench.add("update", "a", {"name": "x"})
    bench.add("update", "b", {"name": "y"})
    bench.batch()
    settlement = bench.answer(rejected("m1", "invalid", message="score: up to 100"), applied("m3"))
    assert [(each.id, each.code, each.mutation.fields) for each in settlement.refused] == [
        ("m1", "invalid", {"score": 1_000})
    ]
    assert bench.ids() == ["m2"]


def test_what_was_to_follow_a_refused_insert_goes_with_it_to_the_inbox(bench: Bench) -> None:
    bench.add("insert", "a", {"name": ""})
    bench.add("update", "a", {"name": "x"})
    bench.add("delete", "a")
    bench.add("update", "b", {"name": "y"})
    bench.batch()
    settlement = bench.answer(rejected("m1", "invalid"), applied("m4"))
    assert [(each.id, each.code, each.depends_on) for each in settlement.refused] == [
        ("m1", "invalid", ()),
        ("m2", DEPENDENCY_CODE, ("m1",)),
        ("m3", DEPENDENCY_CODE, ("m1",)),
    ]
    assert len(bench.queue) == 0


def test_what_refers_to_a_refused_record_is_tried_and_says_what_it_depended_on(bench: Bench) -> None:
    bench.add("insert", "c1", {"name": ""}, collection="clients")
    bench.add("insert", "k1", {"client_id": "c1"}, collection="contacts")
    assert bench.ids() == ["m1", "m2"]
    settlement = bench.answer(rejected("m1", "invalid"), rejected("m2", "foreign_key"))
    assert settlement.refused[1].depends_on == ("m1",)


@pytest.mark.parametrize("code", ["expired", "id_reused", "forbidden", "version_mismatch", "of_tomorrow"])
def test_every_refusal_ends_in_the_inbox(bench: Bench, code: str) -> None:
    bench.add("update", "a", {"name": "x"})
    bench.batch()
    [entry] = bench.answer(rejected("m1", code, record={"id": "a", "version": 9})).refused
    assert (entry.code, entry.mutation.fields, entry.record) == (
        code,
        {"name": "x"},
        {"id": "a", "version": 9},
    )


def test_what_is_the_servers_trouble_is_tried_again_and_then_goes_to_the_inbox(bench: Bench) -> None:
    bench.add("update", "a", {"name": "x"})
    refused: list[InboxEntry] = []
    tries = 0
    while not refused:
        bench.batch()
        tries += 1
        refused = bench.answer(rejected("m1", "internal")).refused
    assert tries == 5
    assert refused[0].mutation.fields == {"name": "x"}


def test_a_write_without_an_answer_is_sent_again(bench: Bench) -> None:
    bench.add("insert", "a")
    bench.add("insert", "b")
    bench.batch()
    settlement = bench.answer(applied("m1"))
    assert [each.mutation.mutation_id for each in settlement.again] == ["m2"]
    assert bench.ids() == ["m2"]


def test_what_was_lost_is_reported_and_not_shown_as_written(bench: Bench) -> None:
    bench.add("update", "a", {"name": "mine", "score": 5})
    bench.batch()
    result = result_from_json(
        {
            "mutation_id": "m1",
            "status": "merged",
            "version": 4,
            "clock": clock(1),
            "lost": [{"field": "name", "mine": "mine", "theirs": "theirs", "by": "u2", "at_ms": NOW + 9}],
        }
    )
    settlement = bench.answer(result)
    [loss] = settlement.losses
    assert (loss.kind, loss.record_id, loss.field, loss.mine, loss.theirs) == (
        "lost",
        "a",
        "name",
        "mine",
        "theirs",
    )
    [pending] = bench.queue.of_record("leads", "a")
    assert pending.written.fields == {"score": 5}


@pytest.mark.parametrize(
    ("operation", "lost"), [("insert", ["name"]), ("delete", ["*"]), ("update", ["name"])]
)
def test_a_write_that_lost_altogether_shows_nothing(
    bench: Bench, operation: MutationOperation, lost: list[str]
) -> None:
    bench.add(operation, "a", {} if operation == "delete" else {"name": "mine"})
    bench.batch()
    entries = [{"field": name, "mine": "mine", "theirs": None} for name in lost]
    bench.answer(result_from_json({"mutation_id": "m1", "status": "merged", "version": 4, "lost": entries}))
    [pending] = bench.queue.of_record("leads", "a")
    assert visible_record(None, [pending.written]) is None
    server = {"id": "a", "version": 4, "name": "theirs"}
    assert visible_record(server, [pending.written]) == server


def test_a_repeat_is_answered_as_the_first_time(bench: Bench) -> None:
    bench.add("update", "a", {"name": "x"})
    bench.batch()
    first = {"status": "merged", "version": 3, "lost": [{"field": "name", "mine": "x", "theirs": "y"}]}
    settlement = bench.answer(result_from_json({"mutation_id": "m1", "status": "duplicate", "first": first}))
    [(_, result)] = settlement.answered
    assert (result.status, result.version, result.is_repeat) == ("merged", 3, True)
    assert len(settlement.losses) == 1


def test_a_write_on_top_of_ones_own_has_seen_its_version(bench: Bench) -> None:
    bench.add("update", "a", {"amount": "1"}, base_version=4)
    bench.add("update", "a", {"amount": "2"}, base_version=4)
    bench.add("update", "a", {"amount": "3"}, base_version=4)
    bench.batch()
    settlement = bench.answer(applied("m1", 5))
    assert {each.mutation.mutation_id: each.mutation.base_version for each in settlement.changed} == {
        "m2": 5,
        "m3": 5,
    }
    bench.batch()
    bench.answer(applied("m2", 6))
    assert [each.mutation.base_version for each in bench.batch()] == [6]


def test_ones_own_answered_writes_are_seen_before_the_copy_has_them(bench: Bench) -> None:
    bench.add("insert", "a", {"name": "x"})
    bench.batch()
    bench.answer(applied("m1", 1))
    assert bench.queue.seen_version("leads", "a", None) == 1
    for version in (2, 3):
        mutation_id = bench.add("update", "a", {"name": "x"}, base_version=version - 1)
        bench.batch()
        bench.answer(applied(mutation_id, version))
    assert [bench.queue.seen_version("leads", "a", held) for held in (None, 1, 2, 3, 4)] == [3, 3, 3, 3, 4]
    # Somebody else's version 4 lies between.
    mutation_id = bench.add("update", "a", {"name": "x"}, base_version=3)
    bench.batch()
    bench.answer(applied(mutation_id, 5))
    assert [bench.queue.seen_version("leads", "a", held) for held in (3, 4)] == [3, 5]
    assert bench.queue.seen_version("leads", "b", None) is None


def test_a_write_on_top_of_ones_own_has_not_seen_what_others_wrote_between(bench: Bench) -> None:
    bench.add("update", "a", {"amount": "1"}, base_version=4)
    bench.add("update", "a", {"amount": "2"}, base_version=4)
    bench.batch()
    bench.answer(applied("m1", 7))
    assert [each.mutation.base_version for each in bench.batch()] == [4]


def test_a_write_on_top_of_ones_own_insert_has_seen_it(bench: Bench) -> None:
    bench.add("insert", "a", {"name": "x"})
    bench.add("update", "a", {"name": "y"})
    bench.batch()
    bench.answer(applied("m1", 1))
    assert [each.mutation.base_version for each in bench.batch()] == [1]


def test_a_write_that_lost_everything_has_made_no_version_to_see(bench: Bench) -> None:
    bench.add("update", "a", {"amount": "1"}, base_version=4)
    bench.add("update", "a", {"amount": "2"}, base_version=4)
    bench.batch()
    lost = result_from_json(
        {"mutation_id": "m1", "status": "merged", "version": 5, "lost": [{"field": "amount", "mine": "1"}]}
    )
    bench.answer(lost)
    assert [each.mutation.base_version for each in bench.batch()] == [4]


def test_what_was_sent_once_keeps_its_content(bench: Bench) -> None:
    """The server knows a repeat by its content: changed, it would be another write under the same id."""
    bench.add("update", "a", {"n": 1}, base_version=4, mode="merge")
    bench.add("update", "a", {"n": 2}, base_version=4, mode="merge")
    bench.batch()
    bench.answer(applied("m1", 5))
    assert [each.mutation.base_version for each in bench.batch()] == [4]


def test_a_later_write_of_a_record_keeps_a_later_clock_than_the_server_gave_to_the_first(
    bench: Bench,
) -> None:
    """The server moves clocks by what it takes for skew, request by request; the order of one person stays."""
    bench.add("update", "a", {"name": "first"})
    bench.add("update", "a", {"name": "second"})
    bench.add("update", "a", {"name": "third"})
    bench.batch()
    effective = clock(500)
    bench.answer(applied("m1", 2, clock=effective))
    [second] = bench.batch()
    [third] = [each for each in bench.queue if each.mutation.mutation_id == "m3"]
    assert effective < second.mutation.clock < third.mutation.clock
    assert parse_clock(second.mutation.clock).ms == NOW + 500


def test_stamps_are_moved_together_with_the_time(bench: Bench) -> None:
    bench.add("update", "a", {"name": "x"})
    bench.add("update", "b", {"name": "y"})
    bench.batch(limit=1)
    changed = bench.queue.shift_clocks(-3_600_000)
    assert [parse_clock(each.mutation.clock).ms for each in changed] == [NOW - 3_599_999, NOW - 3_599_998]
    assert bench.queue.shift_clocks(-3_600_000) == []


def test_no_stamp_is_moved_behind_what_its_author_had_seen(bench: Bench) -> None:
    for record, floor in (("a", ""), ("b", clock(1)), ("c", "")):
        bench.add("update", record, {"name": "x"})
        pending = list(bench.queue)[-1]
        pending.mutation = replace(pending.mutation, floor=floor)
    changed = bench.queue.shift_clocks(-60_000)
    stamps = [each.mutation.clock for each in changed]
    assert stamps[0] < clock(1) < stamps[1] < stamps[2]


def test_what_is_queued_is_put_aside_when_access_is_lost(bench: Bench) -> None:
    bench.add("update", "a", {"name": "x"})
    bench.batch()
    bench.add("update", "b", {"name": "y"})
    bench.add("update", "d", {"name": "z"}, collection="deals")
    entries = bench.queue.set_aside(
        lambda mutation: mutation.collection == "leads", "access_lost", "gone", NOW
    )
    assert [(each.id, each.code) for each in entries] == [("m2", "access_lost")]
    assert len(bench.queue) == 2


def test_answered_writes_stay_until_every_copy_holds_them(bench: Bench) -> None:
    bench.add("update", "a", {"name": "x"})
    bench.batch()
    bench.answer(applied("m1", 2))
    assert (len(bench.queue), len(bench.queue.of_record("leads", "a"))) == (0, 1)
    assert bench.queue.release(lambda _: False) == []
    assert len(bench.queue.release(lambda _: True)) == 1
    assert bench.queue.of_record("leads", "a") == ()
