"""What sockets announce and signal: who may, how much, and about which record.

Whoever announces or signals must be able to read the topic, and the record that it is about. A record that they may
not read is answered like one that there is not (I8).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from core.protocol import downstream
from core.protocol.change import Record
from core.protocol.codes import RejectionCode
from core.protocol.collection import Catalogue
from core.protocol.topic import TopicError, canonical_value, parse_topic
from core.protocol.upstream import Announce, Signal
from core.protocol.view import View, view_of
from gateway.audience import may_read, topic_is_readable
from gateway.bulletin import PassOn
from gateway.frame import text_frame
from gateway.metrics import Metrics
from gateway.options import Options
from gateway.organization import Organization
from gateway.roster import About, Entry, Key, Person
from gateway.seat import Seat

STATE_BYTES = 1024
PAYLOAD_BYTES = 4096


class RefusedError(Exception):
    """What was asked is not done; `code` says why to programs, the message to people."""

    def __init__(self, code: RejectionCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Something that waits for its record: `go_on` does it, given the record; `fail` says that it cannot be done."""

    go_on: Callable[[Record | None], None]
    fail: Callable[[], None]


class Announcing:
    """What the sockets of a gateway announce and signal. `tell(organization_id, signal)` passes a signal on."""

    def __init__(
        self,
        metrics: Metrics,
        options: Options,
        catalogue: Catalogue,
        *,
        organizations: Mapping[str, Organization],
        tell: Callable[[str, PassOn], None],
    ) -> None:
        self._metrics = metrics
        self._options = options
        self._catalogue = catalogue
        self._organizations = organizations
        self._tell = tell
        self._waiting: dict[tuple[str, Key], list[_Waiting]] = {}
        self._latest: dict[tuple[str, str], object] = {}
        """What is waiting to be announced, by connection and topic: only the latest is."""

    def announce(self, seat: Seat, request: Announce) -> None:
        """Show a seat's state to the others on a topic, or end it."""
        self._try(seat, lambda: self._announce(seat, request))

    def signal(self, seat: Seat, request: Signal) -> None:
        """Pass a signal on to the others on a topic."""
        self._try(seat, lambda: self._signal(seat, request))

    def review(self, seat: Seat) -> None:
        """End what a seat's person may not announce any longer; show the rest with who they are now."""
        presence = _organization(seat).presence
        person = person_of(seat)
        for entry in list(presence.roster.of_connection(person.connection_id)):
            try:
                view = self._readable_view(seat, entry.topic)
            except (RefusedError, TopicError):
                presence.drop(presence.gateway_id, person.connection_id, entry.topic)
                continue
            about, records = entry.about, presence.records
            if (
                about is not None
                and records.is_known(about.key)
                and not may_read(view, about, records.get(about.key))
            ):
                presence.drop(presence.gateway_id, person.connection_id, entry.topic)
            elif entry.person != person:
                presence.put(Entry(entry.gateway_id, person, entry.topic, entry.state, about))

    def catalogue_changed(self, catalogue: Catalogue) -> None:
        """Look at everything again by another catalogue."""
        self._catalogue = catalogue
        for organization in self._organizations.values():
            organization.presence.records.doubt()
            for seat in list(organization.seats):
                if seat.principal is not None:
                    self.review(seat)

    def hear(self, organization_id: str, signal: PassOn) -> None:
        """Take a signal of another gateway's socket."""
        organization = self._organizations.get(organization_id)
        if organization is None or not any(organization.presence.listeners(signal.topic)):
            return
        if signal.about is None:
            self._deliver(organization, signal, None)
        else:
            waiting = _Waiting(lambda record: self._deliver(organization, signal, record), lambda: None)
            self._with_record(organization, signal.about.key, waiting)

    # Records that are waited for.

    def known(self, organization_id: str, keys: Iterable[Key]) -> None:
        """Go on with what waits for these records."""
        for key in keys:
            organization = self._organizations.get(organization_id)
            for waiting in self._waiting.pop((organization_id, key), ()):
                if organization is not None:
                    waiting.go_on(organization.presence.records.get(key))
                    organization.presence.records.let_go(key)

    def failed(self, organization_id: str, keys: Iterable[Key]) -> None:
        """Give up what waits for these records: they cannot be read at the moment."""
        for key in keys:
            organization = self._organizations.get(organization_id)
            for waiting in self._waiting.pop((organization_id, key), ()):
                if organization is not None:
                    waiting.fail()
                    organization.presence.records.let_go(key)

    def _with_record(self, organization: Organization, key: Key, waiting: _Waiting) -> None:
        records = organization.presence.records
        records.hold(key)
        if records.is_known(key):
            waiting.go_on(records.get(key))
            records.let_go(key)
        else:
            self._waiting.setdefault((organization.id, key), []).append(waiting)

    # Announcing.

    def _announce(self, seat: Seat, request: Announce) -> None:
        presence = _organization(seat).presence
        connection_id = seat.connection.id
        view = self._view(seat, request.topic)
        topic, state = view.topic.canonical, request.state
        # Whatever still waits for its record is out of date.
        self._latest.pop((connection_id, topic), None)
        if state is None:
            presence.drop(presence.gateway_id, connection_id, topic)
            return
        _check_size("state", state, STATE_BYTES)
        _check_readable(view)
        about = self._about(view, state)
        if about is None:
            self._put(seat, topic, state, None)
            return
        this = self._latest[connection_id, topic] = object()

        def go_on(record: Record | None) -> None:
            if self._latest.get((connection_id, topic)) is this:
                del self._latest[connection_id, topic]
                self._try(seat, lambda: self._announce_about(seat, topic, state, about, record))

        def fail() -> None:
            if self._latest.get((connection_id, topic)) is this:
                del self._latest[connection_id, topic]
                self._reject(seat, "unavailable", "the record cannot be read at the moment")

        self._with_record(_organization(seat), about.key, _Waiting(go_on, fail))

    def _announce_about(
        self, seat: Seat, topic: str, state: Mapping[str, Any], about: About, record: Record | None
    ) -> None:
        # The person's rights may have changed while the record was read.
        if record is None or not may_read(self._readable_view(seat, topic), about, record):
            raise RefusedError("not_found", f"there is no such record in {about.collection!r}")
        if about.is_lease:
            # The version that the lease is bound to: the client's word, or else what is there now.
            state = {"version": record["version"], **state, "record": about.record_id}
        self._put(seat, topic, state, about)

    def _put(self, seat: Seat, topic: str, state: Mapping[str, Any], about: About | None) -> None:
        presence = _organization(seat).presence
        person = person_of(seat)
        roster = presence.roster
        if roster.get(person.connection_id, topic) is None:
            most = self._options.announcements
            if len(roster.of_connection(person.connection_id)) >= most:
                raise RefusedError("too_many_announcements", f"a socket announces on at most {most} topics")
        if not presence.put(Entry(presence.gateway_id, person, topic, state, about)):
            raise RefusedError("too_many_announcements", "the organisation announces as much as it may")

    def _about(self, view: View, state: Mapping[str, Any]) -> About | None:
        """Give the record that a state is about, None if it is about none. Raises RefusedError, TopicError."""
        topic = view.topic
        if "record" not in state:
            return self._about_topic(view)
        collection = state.get("collection", topic.collection)
        if not isinstance(collection, str) or topic.collection not in (None, collection):
            raise RefusedError("invalid_value", "expected the name of the record's collection, the topic's")
        record_id = _uuid(state["record"])
        if record_id is None or topic.record_id not in (None, record_id):
            raise RefusedError("invalid_value", "expected a record's id, the topic's if it names one")
        version = state.get("version", 0)
        if not isinstance(version, int) or isinstance(version, bool) or version < 0:
            raise RefusedError("invalid_value", "expected a record's version, a whole number")
        self._check_field(view, collection, state.get("field"))
        return About(collection, record_id, state.get("field"), is_lease=True)

    def _about_topic(self, view: View) -> About | None:
        topic = view.topic
        if topic.record_id is None or topic.collection is None:
            return None
        return About(topic.collection, topic.record_id)

    def _check_field(self, view: View, collection: str, field: object) -> None:
        known = self._catalogue.collections.get(collection)
        if known is None:
            raise RefusedError("unknown_collection", f"there is no collection {collection!r}")
        shown = view.fields.get(collection)
        if shown is None:
            raise RefusedError("forbidden", f"collection {collection!r} is not yours to read")
        if field is None:
            return
        if not isinstance(field, str):
            raise RefusedError("invalid_value", "expected the name of a field")
        if field not in shown:
            if field in known.fields:
                raise RefusedError("forbidden", f"field {field!r} is not yours to read")
            raise RefusedError("unknown_field", f"there is no field {field!r}")

    # Signals.

    def _signal(self, seat: Seat, request: Signal) -> None:
        view = self._view(seat, request.topic)
        _check_readable(view)
        _check_size("payload", request.payload, PAYLOAD_BYTES)
        about = self._about_topic(view)
        only_if_found = about is not None
        if about is None:
            about = _about_payload(view, request.payload)
        signal = PassOn(
            person_of(seat), view.topic.canonical, request.event, request.payload, about, only_if_found
        )
        if about is None:
            self._pass_on(seat, signal, None)
            return
        waiting = _Waiting(
            lambda record: self._try(seat, lambda: self._pass_on(seat, signal, record)),
            lambda: self._reject(seat, "unavailable", "the record cannot be read at the moment"),
        )
        self._with_record(_organization(seat), about.key, waiting)

    def _pass_on(self, seat: Seat, signal: PassOn, record: Record | None) -> None:
        organization = _organization(seat)
        if not _may_hear(self._readable_view(seat, signal.topic), signal, record):
            raise RefusedError("not_found", "there is no such record")
        self._tell(organization.id, signal)
        self._deliver(organization, signal, record)

    def _deliver(self, organization: Organization, signal: PassOn, record: Record | None) -> None:
        """Give a signal to those here who may hear it; those who cannot be told anything at the moment miss it."""
        self._metrics.signals += 1
        person = signal.person
        message = downstream.signal(
            topic=signal.topic,
            event=signal.event,
            payload=signal.payload,
            sender={
                "connection_id": person.connection_id,
                "user_id": person.user_id,
                "name": person.name,
            },
        )
        frame = text_frame(message)
        hears: dict[str, bool] = {}
        for subscription in list(organization.presence.listeners(signal.topic)):
            seat: Seat = subscription.seat
            if seat.is_held or seat.connection.id == person.connection_id:
                continue
            view = subscription.view
            if view.name not in hears:
                hears[view.name] = _may_hear(view, signal, record)
            if hears[view.name]:
                seat.send_frames(frame)

    # Refusing.

    def _try(self, seat: Seat, act: Callable[[], None]) -> None:
        """Do something for a seat, or say why it is not done."""
        if not seat.is_ready:
            return
        try:
            act()
        except (RefusedError, TopicError) as error:
            self._reject(seat, error.code, str(error))

    def _reject(self, seat: Seat, code: RejectionCode, message: str) -> None:
        self._metrics.rejected(code)
        seat.send(downstream.rejected(id=None, code=code, message=message))

    def _view(self, seat: Seat, topic: str) -> View:
        assert seat.principal is not None
        return view_of(parse_topic(topic, self._catalogue), seat.principal, self._catalogue)

    def _readable_view(self, seat: Seat, topic: str) -> View:
        view = self._view(seat, topic)
        _check_readable(view)
        return view


def person_of(seat: Seat) -> Person:
    """Say who sits there."""
    principal = seat.principal
    assert principal is not None
    branches = principal.branch_ids
    branch_id = next(iter(branches)) if branches is not None and len(branches) == 1 else None
    return Person(seat.connection.id, principal.user_id, principal.name, branch_id)


def _may_hear(view: View, signal: PassOn, record: Record | None) -> bool:
    if not topic_is_readable(view):
        return False
    if signal.about is None or (record is None and not signal.only_if_found):
        return True
    return may_read(view, signal.about, record)


def _about_payload(view: View, payload: Any) -> About | None:
    """Give the record that a payload names, as `{"record": id}`, None if it names none of the topic's collection."""
    if view.topic.collection is None or not isinstance(payload, dict):
        return None
    record_id = _uuid(payload.get("record"))
    return None if record_id is None else About(view.topic.collection, record_id)


def _uuid(value: object) -> str | None:
    try:
        return canonical_value("uuid", value, "an id") if isinstance(value, str) else None
    except TopicError:
        return None


def _check_size(what: str, value: object, most_bytes: int) -> None:
    # Messages and bulletins put a value into some levels more of lists and objects, and must not fail over it.
    wrapped = [[[[[[[[value]]]]]]]]
    try:
        size = len(orjson.dumps(wrapped)) - 16
    except orjson.JSONEncodeError:
        raise RefusedError("invalid_value", f"the {what} is nested too deeply") from None
    if size > most_bytes:
        raise RefusedError("too_large", f"expected at most {most_bytes} bytes of {what}, got {size}")


def _check_readable(view: View) -> None:
    if not topic_is_readable(view):
        raise RefusedError("forbidden", "the topic names only branches that are not yours to read")


def _organization(seat: Seat) -> Organization:
    assert seat.organization is not None
    return seat.organization
