"""The hub: lanes of members that are live in the same views, and views found by what a change may concern."""

import io

from core.protocol.topic import parse_topic
from core.protocol.view import View, view_of
from gateway.hub import Hub, Lane, LiveView
from tests.unit.protocol.catalogue import CATALOGUE, LEAD, NORTH, change, person, record


def view(topic: str) -> View:
    return view_of(parse_topic(topic, CATALOGUE), person(), CATALOGUE)


def seat(hub: Hub[str], member: str, *topics: str) -> Lane[str]:
    lane = hub.lane_of([hub.open(view(topic), "e", 0) for topic in topics])
    lane.members[member] = io.BytesIO()
    return lane


def test_members_of_the_same_views_share_a_lane() -> None:
    hub: Hub[str] = Hub()
    assert seat(hub, "a", "leads", "branches") is seat(hub, "b", "branches", "leads")
    assert seat(hub, "c", "leads") is not seat(hub, "d", "leads", "branches")
    assert len(list(hub.views)) == 2
    live = hub.live_view(view("leads").name)
    assert live is not None
    assert len(live.lanes) == 2


def test_lanes_and_views_end_with_their_last_member() -> None:
    hub: Hub[str] = Hub()
    lane = seat(hub, "a", "leads")
    seat(hub, "b", "leads")
    hub.leave("a", lane)
    assert hub.live_view(view("leads").name) is not None
    hub.leave("b", lane)
    assert hub.live_view(view("leads").name) is None
    assert list(hub.lanes) == []
    assert list(hub.concerned([change()])) == []


def test_a_view_that_another_lane_has_lives_on() -> None:
    hub: Hub[str] = Hub()
    one, other = seat(hub, "a", "leads"), seat(hub, "b", "leads", "branches")
    hub.leave("b", other)
    [live] = hub.views
    assert live.lanes == [one]


def test_a_change_concerns_views_of_its_collection_its_record_and_everything() -> None:
    hub: Hub[str] = Hub()
    for topic in ("leads", "leads?status=new", f"leads/{LEAD}", f"leads/{NORTH}", "branches", "*"):
        seat(hub, topic, topic)
    concerned = [live.view.topic.canonical for live in hub.concerned([change(), change(2)])]
    assert sorted(concerned) == sorted(["leads", "leads?status=new", f"leads/{LEAD}", "*"])
    assert len(concerned) == len(set(concerned))


def test_views_amid_the_pages_of_a_transaction_are_known() -> None:
    hub: Hub[str] = Hub()
    seat(hub, "a", "leads")
    [live] = hub.views
    live.writer.write([change(1, last_of_commit=2)])
    assert list(hub.unfinished()) == [live]
    live.writer.write([change(2, after=record(id=NORTH))])
    assert list(hub.unfinished()) == []


def test_a_live_view_is_told_apart_by_identity() -> None:
    one: LiveView[str] = Hub[str]().open(view("leads"), "e", 0)
    other: LiveView[str] = Hub[str]().open(view("leads"), "e", 0)
    assert len({one, other}) == 2
