"""Who follows what: subscribes seats to topics, and keeps what they are sent within what they may read."""

from core.catalogue import Catalogue
from core.protocol import downstream
from core.protocol.codes import RejectionCode
from core.protocol.topic import TopicError, parse_topic
from core.protocol.upstream import SincePosition, Subscribe, Unsubscribe
from core.protocol.view import View, view_of
from gateway.catch_up import CatchUp
from gateway.metrics import Metrics
from gateway.options import Options
from gateway.organization import Organization
from gateway.seat import Seat
from gateway.subscription import Subscription


class Following:
    """Subscriptions of signed-in seats. `catalogue` says at each use what there is to follow."""

    def __init__(self, catch_up: CatchUp, metrics: Metrics, options: Options, catalogue: Catalogue) -> None:
        self._catch_up = catch_up
        self._metrics = metrics
        self._options = options
        self._catalogue = catalogue

    def follow(self, seat: Seat, request: Subscribe) -> None:
        """Subscribe a seat to a topic; a subscription of the same topic that it has begins anew."""
        try:
            view = self._view(seat, request.topic)
        except TopicError as error:
            self._reject(seat, request.id, error.code, str(error))
            return
        organization = _organization(seat)
        old = seat.subscription(view.topic.canonical)
        if old is not None:
            organization.end(old)
        elif len(seat.subscriptions) >= self._options.subscriptions:
            message = f"a socket follows at most {self._options.subscriptions} topics"
            self._reject(seat, request.id, "too_many_subscriptions", message)
            return
        elif not self._has_room(organization, seat, view):
            message = f"a person's sockets follow at most {self._options.views_per_user} topics between them"
            self._reject(seat, request.id, "too_many_subscriptions", message)
            return
        subscription = Subscription(seat, request.id, view, with_presence=request.presence)
        seat.subscriptions.append(subscription)
        since = request.since.position() if isinstance(request.since, SincePosition) else None
        self._catch_up.follow(subscription, since, now=request.since == "now")

    def unfollow(self, seat: Seat, request: Unsubscribe) -> None:
        """End a subscription; one that there is not is ended already."""
        topic = request.topic
        subscription = seat.subscription(topic)
        if subscription is None:
            try:
                topic = parse_topic(topic, self._catalogue).canonical
            except TopicError as error:
                self._reject(seat, request.id, error.code, str(error))
                return
            subscription = seat.subscription(topic)
        if subscription is not None:
            _organization(seat).end(subscription)
        seat.send(downstream.unsubscribed(id=request.id, topic=topic, reason="asked"))

    def slowed(self, seat: Seat) -> None:
        """Send nothing of the log to a seat whose reader is slow; remember where it stood. It goes on with the latest
        state of what has changed meanwhile.
        """
        organization = seat.organization
        if organization is not None and seat.connection.is_slow:
            organization.fall_behind(seat, organization.feed.cursor, conflates=True)

    def drained(self, seat: Seat) -> None:
        """Bring a seat forward whose reader has read."""
        for subscription in list(seat.subscriptions):
            self._catch_up.advance(subscription)
        if seat.organization is not None:
            seat.organization.presence.resume(seat)

    def rights_changed(self, seat: Seat) -> None:
        """Have a seat go on with what its person may still read, in the same view, and purge the rest."""
        seat.is_suspended = False
        self._compare(seat, may_narrow=True)
        self.drained(seat)

    def catalogue_changed(self, catalogue: Catalogue, organizations: list[Organization]) -> None:
        """Have those subscribe again whose views show other fields or collections now."""
        self._catalogue = catalogue
        for organization in organizations:
            for seat in list(organization.seats):
                if seat.principal is not None:
                    self._compare(seat, may_narrow=False)

    def _compare(self, seat: Seat, *, may_narrow: bool) -> None:
        """End the subscriptions whose view is another one now; where it may be narrower, have the client purge."""
        organization = _organization(seat)
        gone = [each for each in seat.subscriptions if not self._is_same(seat, each)]
        for subscription in gone:
            organization.drop(subscription, reason="revoked" if may_narrow else "epoch")
        if gone and may_narrow:
            topics = [each.view.topic.canonical for each in gone]
            seat.purging.update(topics)
            self._metrics.purges += len(topics)
            seat.send(downstream.purge(topics=topics, reason="access_changed"))

    def _is_same(self, seat: Seat, subscription: Subscription) -> bool:
        try:
            return self._view(seat, subscription.view.topic.canonical).name == subscription.view.name
        except TopicError:
            return False

    def _has_room(self, organization: Organization, seat: Seat, view: View) -> bool:
        """Whether one more view of the person's is allowed; one that they have already costs nothing more."""
        limit = self._options.views_per_user
        if not limit:
            return True
        assert seat.principal is not None
        names = {
            each.view.name
            for one in organization.seats_of({seat.principal.user_id})
            for each in one.subscriptions
        }
        return view.name in names or len(names) < limit

    def _view(self, seat: Seat, topic: str) -> View:
        assert seat.principal is not None
        return view_of(parse_topic(topic, self._catalogue), seat.principal, self._catalogue)

    def _reject(self, seat: Seat, request_id: int, code: RejectionCode, message: str) -> None:
        self._metrics.rejected(code)
        seat.send(downstream.rejected(id=request_id, code=code, message=message))


def _organization(seat: Seat) -> Organization:
    assert seat.organization is not None
    return seat.organization
