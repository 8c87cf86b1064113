"""The backlog gives out each organisation's changes in order, once, and nobody waits for another."""

import math
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.relay import backlog as backlog_module
from gateway.relay.backlog import (
    ACTIVE_SECONDS,
    BURST_BYTES,
    BYTES_A_SECOND,
    PART_CHANGES,
    ROUND_CHANGES,
    TRIES,
    Backlog,
    Commit,
)
from tests.unit.relay.commits import commits, organization, publish


def drain(backlog: Backlog) -> dict[UUID, list[int]]:
    """Publish until there is nothing left; the offsets of each organisation in the order in which they came."""
    out: dict[UUID, list[int]] = {}
    while backlog.due_at() <= 0.0:
        for organization_id, after, to in publish(backlog):
            out.setdefault(organization_id, []).extend(range(after + 1, to + 1))
    return out


def test_commits_come_out_in_the_order_of_their_offsets() -> None:
    backlog = Backlog()
    assert backlog.note(reversed(commits(1, 2, 1, 3)), now=0.0) == 0
    assert drain(backlog) == {organization(1): [1, 2, 3, 4, 5, 6]}
    assert backlog.of(organization(1)).published == backlog.of(organization(1)).head == 6
    assert backlog.lag() == 0


def test_a_commit_that_is_known_already_is_not_published_again() -> None:
    backlog = Backlog()
    backlog.note(commits(1, 2, 2), now=0.0)
    drain(backlog)
    assert backlog.note(commits(1, 2, 2, 1), now=0.0) == 0
    assert drain(backlog) == {organization(1): [5]}


def test_a_gap_is_counted_and_filled_from_the_log() -> None:
    backlog = Backlog()
    first, second, third = commits(1, 2, 2, 2)
    assert backlog.note([first, third], now=0.0) == 1
    assert drain_round(backlog) == [1, 2]
    (progress,) = backlog.adrift()
    assert progress.published == 2
    assert backlog.refill(progress, [second, third], complete=True) is None
    assert drain(backlog) == {organization(1): [3, 4, 5, 6]}


def drain_round(backlog: Backlog) -> list[int]:
    return [offset for _, after, to in publish(backlog) for offset in range(after + 1, to + 1)]


def test_an_organisation_that_is_behind_at_the_start_reads_its_commits_from_the_log() -> None:
    backlog = Backlog()
    backlog.stand(organization(1), published=4, head=8, now=0.0)
    assert backlog.due_at() <= 0.0
    assert backlog.choose(0.0) == []
    (progress,) = backlog.adrift()
    found = commits(1, 2, 2, first=5)
    assert backlog.refill(progress, found[:1], complete=False) is None
    assert drain_round(backlog) == [5, 6]
    (progress,) = backlog.adrift()
    assert backlog.refill(progress, found[1:], complete=True) is None
    assert drain_round(backlog) == [7, 8]
    assert backlog.due_at() == math.inf


def test_commits_that_appear_while_an_organisation_reads_from_the_log_are_not_lost() -> None:
    backlog = Backlog()
    backlog.stand(organization(1), published=0, head=2, now=0.0)
    appeared = commits(1, 2, 3)
    backlog.note(appeared[1:], now=0.0)
    (progress,) = backlog.adrift()
    backlog.refill(progress, appeared, complete=True)
    assert drain(backlog) == {organization(1): [1, 2, 3, 4, 5]}


def test_what_was_pruned_before_it_was_published_is_named_and_passed_over() -> None:
    backlog = Backlog()
    backlog.stand(organization(1), published=4, head=12, now=0.0)
    (progress,) = backlog.adrift()
    assert backlog.refill(progress, commits(1, 3, first=10), complete=True) == (4, 9)
    assert drain(backlog) == {organization(1): [10, 11, 12]}


def test_a_long_queue_is_not_kept_in_memory_but_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog_module, "QUEUE_COMMITS", 3)
    backlog = Backlog()
    assert backlog.note(commits(1, 1, 1, 1, 1, 1), now=0.0) == 0
    assert drain_round(backlog) == [1, 2, 3]
    (progress,) = backlog.adrift()
    backlog.refill(progress, commits(1, 1, 1, first=4), complete=True)
    assert drain(backlog) == {organization(1): [4, 5]}


def test_a_large_commit_does_not_keep_the_others_waiting() -> None:
    backlog = Backlog()
    backlog.note(commits(1, 10 * PART_CHANGES), now=0.0)
    backlog.note(commits(2, 1), now=0.0)
    first_round = publish(backlog)
    assert [organization_id for organization_id, _, _ in first_round] == [organization(1), organization(2)]
    assert drain(backlog)[organization(1)][-1] == 10 * PART_CHANGES


def test_a_busy_organisation_does_not_keep_the_others_waiting() -> None:
    backlog = Backlog()
    backlog.note(commits(1, *[1] * (2 * ROUND_CHANGES)), now=0.0)
    backlog.note(commits(2, 1), now=0.0)
    assert {organization_id for organization_id, _, _ in publish(backlog)} == {organization(1)}
    assert publish(backlog)[0][0] == organization(2)


def test_an_organisation_that_fails_waits_alone_and_one_commit_at_a_time() -> None:
    backlog = Backlog()
    backlog.note(commits(1, 1, 1, 1), now=0.0)
    backlog.note(commits(2, 1), now=0.0)
    assert backlog.fail(organization(1), now=0.0) is None
    assert publish(backlog, now=0.0) == [(organization(2), 0, 1)]
    assert publish(backlog, now=10.0) == [(organization(1), 0, 1)]
    assert publish(backlog, now=10.0) == [(organization(1), 1, 2), (organization(1), 2, 3)]


def test_the_commit_that_fails_is_given_up_after_some_tries() -> None:
    backlog = Backlog()
    first, second = commits(1, 2, 1)
    backlog.note([first, second], now=0.0)
    answers = [backlog.fail(organization(1), now=0.0) for _ in range(TRIES)]
    assert answers == [None] * (TRIES - 1) + [first]
    backlog.advance(organization(1), published=first.last, read=0)
    assert publish(backlog, now=0.0) == []
    assert publish(backlog, now=10.0) == [(organization(1), 2, 3)]


def test_a_failure_late_in_a_large_commit_counts_as_a_failure_of_that_commit() -> None:
    backlog = Backlog()
    (commit,) = commits(1, 2 * PART_CHANGES)
    backlog.note([commit], now=0.0)
    given_up = None
    for _ in range(TRIES):
        backlog.choose(now=1e9)
        backlog.advance(organization(1), published=0, read=PART_CHANGES)
        backlog.choose(now=1e9)
        given_up = backlog.fail(organization(1), now=0.0)
    assert given_up == commit


def test_an_organisation_that_publishes_much_is_paced_and_the_others_are_not() -> None:
    backlog = Backlog()
    backlog.note(commits(1, 1, 1), now=0.0)
    backlog.note(commits(2, 1), now=0.0)
    backlog.pace(organization(1), BURST_BYTES // 2, now=0.0)
    backlog.pace(organization(1), BURST_BYTES // 2, now=0.0)
    assert backlog.due_at() == 0.0
    backlog.pace(organization(1), BYTES_A_SECOND, now=0.0)
    assert publish(backlog, now=0.5) == [(organization(2), 0, 1)]
    assert backlog.due_at() == 1.0
    assert publish(backlog, now=1.0) == [(organization(1), 0, 1), (organization(1), 1, 2)]


def test_heads_go_with_the_heartbeat_for_a_minute() -> None:
    backlog = Backlog()
    backlog.note(commits(1, 2), now=100.0)
    backlog.stand(organization(2), published=7, head=7, now=100.0)
    assert backlog.active_heads(100.0) == {str(organization(1)): 0}
    drain(backlog)
    assert backlog.active_heads(100.0) == {str(organization(1)): 2}
    assert backlog.active_heads(100.0 + ACTIVE_SECONDS) == {}


def test_a_comparison_of_heads_finds_what_was_missed() -> None:
    backlog = Backlog()
    backlog.note(commits(1, 2), now=0.0)
    drain(backlog)
    backlog.behind(organization(1), head=2, now=0.0)
    assert backlog.due_at() == math.inf
    backlog.behind(organization(1), head=3, now=0.0)
    (progress,) = backlog.adrift()
    backlog.refill(progress, commits(1, 1, first=3), complete=True)
    assert drain(backlog) == {organization(1): [3]}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_appears_and_fails_everything_comes_out_once_in_order(data: st.DataObject) -> None:
    """Looks that miss commits, failures and short refills in any order: the offsets come out as 1, 2, 3 …"""
    log = commits(1, *data.draw(st.lists(st.sampled_from([1, 3, PART_CHANGES + 1]), min_size=1, max_size=8)))
    backlog = Backlog()
    model = _Model(backlog, log)
    for now in range(1000, 11_000, 1000):
        match data.draw(st.sampled_from(["look", "look and miss", "publish", "publish", "fail"])):
            case "look":
                model.look(data.draw(st.integers(1, 3)), float(now))
            case "look and miss":
                model.look(data.draw(st.integers(2, 3)), float(now), missing=data.draw(st.integers(0, 1)))
            case "publish":
                model.turn(float(now), commits_at_once=data.draw(st.integers(1, 3)))
            case "fail":
                model.fail(float(now))
    model.look(len(log), 20_000.0)
    backlog.behind(organization(1), log[-1].last, 20_000.0)
    for now in range(21_000, 100_000, 1000):
        model.turn(float(now), commits_at_once=2)
    assert model.out == list(range(1, log[-1].last + 1))
    assert backlog.lag() == 0


class _Model:
    """A log of which ever more becomes visible, and what a reader of the publications has."""

    def __init__(self, backlog: Backlog, log: list[Commit]) -> None:
        self.out: list[int] = []
        self._pages: list[int] = []
        self._backlog = backlog
        self._log = log
        self._visible = 0

    def look(self, count: int, now: float, missing: int | None = None) -> None:
        appeared = self._log[self._visible : self._visible + count]
        self._visible += len(appeared)
        self._backlog.note([commit for n, commit in enumerate(appeared) if n != missing], now)

    def turn(self, now: float, commits_at_once: int) -> None:
        for progress in self._backlog.adrift():
            following = [commit for commit in self._log[: self._visible] if commit.first > progress.published]
            some = following[:commits_at_once]
            self._backlog.refill(progress, some, complete=len(some) == len(following))
        for _, after, to in publish(self._backlog, now):
            self._pages += range(after + 1, to + 1)
            if to in {commit.last for commit in self._log}:
                self.out += self._pages
                self._pages = []

    def fail(self, now: float) -> None:
        if self._backlog.choose(now):
            self._backlog.of(organization(1)).tries = 0
            self._backlog.fail(organization(1), now - 900.0)
            self._pages = []
