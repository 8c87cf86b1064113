"""Sockets that look on: what they know of who is here, put together from what they were told."""

from typing import Any

from tests.gateways import WAIT_SECONDS, Socket, wait_until

Entry = dict[str, Any]


class Onlooker:
    """A socket that has asked for presence on topics.

    Raises AssertionError where news do not fit what was told before.
    """

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.rosters: dict[str, dict[str, Entry]] = {}
        self.counts: dict[str, int] = {}
        self._read = 0
        self._next_id = 1_000

    async def watch(self, topic: str) -> None:
        """Ask for presence, and wait for the roster."""
        self._next_id += 1
        await self.socket.send(type="subscribe", id=self._next_id, topic=topic, since="now", presence=True)
        await wait_until(lambda: topic in self.look().rosters)

    def look(self) -> "Onlooker":
        """Take what has come."""
        messages = self.socket.messages
        for message in messages[self._read :]:
            if message["type"] == "presence":
                self._take(message)
        self._read = len(messages)
        return self

    def states(self, topic: str) -> dict[str, Any]:
        """What those on a topic do, by name."""
        return {each["name"]: each["state"] for each in self.look().rosters.get(topic, {}).values()}

    async def sees(self, topic: str, seconds: float = WAIT_SECONDS, **states: Any) -> None:
        """Wait until exactly these people are shown, with these states."""
        try:
            await wait_until(lambda: self.states(topic) == states, seconds)
        except TimeoutError:
            raise AssertionError(f"expected {states}, got {self.states(topic)}") from None

    def _take(self, message: dict[str, Any]) -> None:
        topic = message["topic"]
        if "count" in message:
            assert topic not in self.rosters, "a second roster"
            assert not message["left"]
            assert not message["changed"]
            self.rosters[topic] = {}
            self.counts[topic] = message["count"]
        roster = self.rosters[topic]
        for entry in message["joined"]:
            assert entry["connection_id"] not in roster
            roster[entry["connection_id"]] = entry
        for entry in message["changed"]:
            assert roster[entry["connection_id"]] != entry
            roster[entry["connection_id"]] = entry
        for entry in message["left"]:
            del roster[entry["connection_id"]]
