"""PURE. Who listens to what, in one organisation: views, and lanes of connections that get the same frames.

Connections that are live in exactly the same views form a **lane**. A frame is appended once to each lane
that listens to its view, however many connections are in it, and what is pending is joined once and handed
to all of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from core.protocol.change import LoggedChange
from core.protocol.view import View
from gateway.delta import DeltaWriter

Member = TypeVar("Member")


class Writer(Protocol):
    """Takes bytes for one member and waits for nobody: a socket's transport."""

    def write(self, data: bytes) -> object:
        """Send bytes behind all that were written before."""


class Lane(Generic[Member]):
    """Members that are live in the same views, each with what it is written to.

    `pending` holds frames that they have yet to be sent.
    """

    __slots__ = ("members", "pending", "views")

    def __init__(self, views: frozenset["LiveView[Member]"]) -> None:
        self.views = views
        self.members: dict[Member, Writer] = {}
        self.pending: list[bytes] = []


class LiveView(Generic[Member]):
    """A view with live subscribers. `writer` stands where the last delta that they got ended."""

    __slots__ = ("lanes", "view", "writer")

    def __init__(self, view: View, writer: DeltaWriter) -> None:
        self.view = view
        self.writer = writer
        self.lanes: list[Lane[Member]] = []


class Hub(Generic[Member]):
    """The live views of one organisation, found by what a change may concern."""

    def __init__(self) -> None:
        self._views: dict[str, LiveView[Member]] = {}
        self._lanes: dict[frozenset[LiveView[Member]], Lane[Member]] = {}
        self._everything: dict[str, LiveView[Member]] = {}
        self._by_collection: dict[str, dict[str, LiveView[Member]]] = {}
        self._by_record: dict[str, dict[str, LiveView[Member]]] = {}

    def live_view(self, name: str) -> LiveView[Member] | None:
        """Find a live view by its name."""
        return self._views.get(name)

    def open(self, view: View, epoch: str, from_offset: int) -> LiveView[Member]:
        """Give the live view, a new one whose first delta will begin at `from_offset` if there is none."""
        live = self._views.get(view.name)
        if live is None:
            live = LiveView(view, DeltaWriter(view, epoch, from_offset))
            self._views[view.name] = live
            self._index(view)[view.name] = live
        return live

    def lane_of(self, views: Iterable[LiveView[Member]]) -> Lane[Member]:
        """Give the lane of exactly these views, a new one if there is none; put a member in, or it stays for ever."""
        key = frozenset(views)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
            for live in key:
                live.lanes.append(lane)
        return lane

    def leave(self, member: Member, lane: Lane[Member]) -> None:
        """Take a member out of its lane, which must have nothing pending; lanes and views without members
        end.
        """
        lane.members.pop(member, None)
        if lane.members:
            return
        self._lanes.pop(lane.views, None)
        for live in lane.views:
            if lane in live.lanes:
                live.lanes.remove(lane)
            if not live.lanes:
                self._forget(live)

    def concerned(self, changes: Sequence[LoggedChange]) -> Iterator[LiveView[Member]]:
        """Give the views that these changes may concern: all that hold one of them, and some more."""
        yield from list(self._everything.values())
        for collection in {change.collection for change in changes}:
            yield from list(self._by_collection.get(collection, {}).values())
        if self._by_record:
            for record_id in {change.id for change in changes}:
                yield from list(self._by_record.get(record_id, {}).values())

    def unfinished(self) -> Iterator[LiveView[Member]]:
        """Give the views that were sent pages of a transaction, and not yet its last."""
        return (live for live in list(self._views.values()) if live.writer.in_page)

    @property
    def views(self) -> Iterable[LiveView[Member]]:
        """All live views."""
        return self._views.values()

    @property
    def lanes(self) -> Iterable[Lane[Member]]:
        """All lanes."""
        return self._lanes.values()

    def _forget(self, live: LiveView[Member]) -> None:
        view = live.view
        self._views.pop(view.name, None)
        self._index(view).pop(view.name, None)
        topic = view.topic
        if topic.record_id is not None:
            if not self._by_record.get(topic.record_id):
                self._by_record.pop(topic.record_id, None)
        elif topic.collection is not None and not self._by_collection.get(topic.collection):
            self._by_collection.pop(topic.collection, None)

    def _index(self, view: View) -> dict[str, LiveView[Member]]:
        topic = view.topic
        if topic.collection is None:
            return self._everything
        if topic.record_id is not None:
            return self._by_record.setdefault(topic.record_id, {})
        return self._by_collection.setdefault(topic.collection, {})
