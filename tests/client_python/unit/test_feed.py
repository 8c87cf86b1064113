"""A feed moves over whole ranges only (I5): the scenarios that both clients read, and any stream that is torn apart."""

import json
from pathlib import Path
from typing import Any, assert_never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchline_client import message as messages
from branchline_client.change import Change
from branchline_client.feed import Advanced, Ask, Ended, Fact, Feed, Phase, Replaced, Since, WentLive
from branchline_client.message import Delta, Head, Rejected, SnapshotPage, Subscribed, Unsubscribed
from branchline_client.position import Position

SCENARIOS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "protocol" / "scenarios" / "feed.json").read_text(encoding="utf-8")
)


def since_of(data: Any) -> Since:
    return Position(**data) if isinstance(data, dict) else data


def since_to_json(since: Since) -> Any:
    if isinstance(since, Position):
        return {"epoch": since.epoch, "offset": since.offset, "view": since.view}
    return since


def fact_to_json(fact: Fact) -> dict[str, Any]:
    match fact:
        case Replaced():
            return {"replaced": [record["id"] for _, record in fact.records], "at": fact.position.offset}
        case Advanced():
            return {"advanced": [change.offset for change in fact.changes], "to": fact.position.offset}
        case WentLive():
            return {"live": True}
        case Ask():
            return {"ask": since_to_json(fact.since)} | ({"later": True} if fact.later else {})
        case Ended():
            return {"ended": fact.code}
        case _:
            assert_never(fact)


def hear(feed: Feed, message: messages.Downstream) -> list[Fact]:
    match message:
        case Subscribed():
            return feed.subscribed(message)
        case SnapshotPage():
            return feed.snapshot(message)
        case Delta():
            return feed.delta(message)
        case Head():
            return feed.head(message)
        case Unsubscribed():
            return feed.unsubscribed(message)
        case Rejected():
            return feed.rejected(message, message.reaction or "give_up")
        case _:
            raise AssertionError(message)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s["name"])
def test_a_feed_follows_the_scenario(scenario: dict[str, Any]) -> None:
    feed = Feed("leads", "leads", since_of(scenario["since"]))
    for number, step in enumerate(scenario["steps"]):
        if "asked" in step:
            feed.asked(step["asked"])
        elif "disconnected" in step:
            feed.disconnected()
            assert since_to_json(feed.since) == step["since"], f"step {number}"
        else:
            facts = hear(feed, messages.decode(json.dumps(step["down"])))
            assert [fact_to_json(fact) for fact in facts] == step["gives"], f"step {number}"


def test_what_is_polled_goes_on_where_the_socket_was_and_back() -> None:
    feed = Feed("leads", "leads", Position("e", 10, "v"))
    facts = feed.pulled(Delta("leads", "e", 10, 12, (change(11),)))
    assert [fact_to_json(fact) for fact in facts] == [{"advanced": [11], "to": 12}, {"live": True}]
    assert feed.since == Position("e", 12, "v")
    facts = feed.fetched([("leads", {"id": "a", "version": 1})], Position("e2", 3, "v"))
    assert [fact_to_json(fact) for fact in facts] == [{"replaced": ["a"], "at": 3}, {"live": True}]


def change(offset: int) -> Change:
    return Change(offset, "leads", f"r{offset % 3}", "update", offset, {"n": offset})


@settings(deadline=None)
@given(st.data())
def test_whatever_is_lost_doubled_or_torn_each_change_arrives_once_in_order(data: st.DataObject) -> None:
    """A server that loses, repeats and overlaps deltas, and breaks the line; it answers every question honestly."""
    log_end = data.draw(st.integers(1, 40))
    feed = Feed("leads", "leads", Position("e", 0, "v"))
    arrived: list[int] = []
    request_id = 0

    def take(facts: list[Fact]) -> bool:
        """Whether the topic has to be asked for again."""
        again = False
        for fact in facts:
            if isinstance(fact, Advanced):
                arrived.extend(each.offset for each in fact.changes)
                assert arrived == list(range(1, fact.position.offset + 1))
            again = again or isinstance(fact, Ask)
        return again

    def ask() -> int:
        nonlocal request_id
        request_id += 1
        feed.asked(request_id)
        assert feed.position is not None
        take(feed.subscribed(Subscribed(request_id, "leads", "v", "replay", "e", log_end)))
        return feed.position.offset

    at = ask()
    for _ in range(data.draw(st.integers(0, 60))):
        start = max(0, at - data.draw(st.integers(0, 3)))
        end = min(log_end, start + data.draw(st.integers(0, 6)))
        match data.draw(st.sampled_from(["send", "lose", "page", "break", "head"])):
            case "send":
                again = take(
                    feed.delta(Delta("leads", "e", start, end, tuple(map(change, range(start + 1, end + 1)))))
                )
                at = max(at, end)
            case "lose":
                again, at = False, max(at, end)
            case "page":
                page = Delta("leads", "e", start, end, tuple(map(change, range(start + 1, end))), more=True)
                again = take(feed.delta(page))
            case "break":
                feed.disconnected()
                again = True
            case _:
                # A head says that everything up to it was sent; this server lies about none that it has lost.
                again = feed.position is not None and take(feed.head(Head("e", feed.position.offset, 0)))
        if again:
            if feed.position is None:
                return
            at = ask()
    assert feed.phase in (Phase.CATCHING_UP, Phase.LIVE)
