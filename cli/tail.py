"""`branchline tail`: changes as they happen, one line each, over the same WebSocket as a browser's."""

import asyncio
import os
import random
import sys
import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from cli.change_line import change_line
from cli.token import make_token
from core.lifecycle import EXIT_OK, StartupError, fail
from core.protocol.codes import CLOSES, CloseCode
from core.settings import Settings

DEMO_PERSON = "ana@demo.test"
SUBPROTOCOL = Subprotocol("branchline.v1")
ANSWER_SECONDS = 10.0
SILENCE_SECONDS = 30.0
LONGEST_DELAY_SECONDS = 10.0
_REQUEST_ID = 1


@dataclass
class Follower:
    """What is to be followed, and how far it was seen."""

    url: str
    token: str
    topic: str
    colours: bool
    since: dict[str, Any] | str = "now"
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def is_new(self, change: dict[str, Any]) -> bool:
        """Whether a change is above the position: deltas may overlap."""
        return not isinstance(self.since, dict) or change["offset"] > self.since["offset"]

    def moved_to(self, message: dict[str, Any]) -> None:
        """Remember the position that a message completes."""
        if isinstance(self.since, dict):
            self.since["offset"] = max(self.since["offset"], message.get("to", message.get("offset", 0)))


def run(settings: Settings, *, topic: str, access_token: str | None) -> int:
    """Follow until Ctrl-C; the exit status. Without a token, in development, as the demo's manager."""

    async def start() -> None:
        token = access_token or await _demo_token(settings)
        await follow(Follower(_gateway_url(settings), token, topic, colours=_colours()))

    try:
        asyncio.run(start())
    except StartupError as error:
        return fail(error)
    except KeyboardInterrupt:
        pass
    return EXIT_OK


async def follow(follower: Follower) -> None:
    """Print changes, and after a lost connection go on where it was lost.

    Raises StartupError if the gateway cannot be reached at first, or says that trying again is of no use.
    """
    attempts = 0
    while True:
        try:
            async with connect(
                follower.url, subprotocols=[SUBPROTOCOL], max_size=None, open_timeout=ANSWER_SECONDS
            ) as socket:
                again = isinstance(follower.since, dict)
                await _sign_in(socket, follower)
                _note("reconnected." if again else f"following {follower.topic} …")
                attempts = 0
                await _print_changes(socket, follower)
        except ConnectionClosed as closed:
            _raise_if_final(closed)
            _note(f"connection lost ({_close_text(closed)}); connecting again …")
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            if not isinstance(follower.since, dict):
                raise StartupError(
                    f"the gateway at {follower.url} cannot be reached ({error}): start it (`branchline "
                    "up`), or correct BRANCHLINE_GATEWAY_URL."
                ) from None
        attempts += 1
        # Full jitter, so that followers do not come back all at once.
        await asyncio.sleep(random.uniform(0, min(LONGEST_DELAY_SECONDS, 0.5 * 2**attempts)))


async def _sign_in(socket: ClientConnection, follower: Follower) -> None:
    await _send(socket, {"type": "authenticate", "token": follower.token, "client_id": follower.client_id})
    await _receive(socket, "ready")
    await _catch_up(socket, follower)


async def _catch_up(socket: ClientConnection, follower: Follower) -> None:
    answer = await _subscribe(socket, follower)
    if (
        answer["mode"] == "snapshot"
        and isinstance(follower.since, dict)
        and answer["epoch"] == follower.since["epoch"]
        and answer["view"] != follower.since["view"]
    ):
        # The topic shows more or less than before, as `*` does when a table is tracked: the position is still good.
        follower.since = {**follower.since, "view": answer["view"]}
        await _send(socket, {"type": "unsubscribe", "id": _REQUEST_ID, "topic": follower.topic})
        await _receive(socket, "unsubscribed")
        answer = await _subscribe(socket, follower)
    if answer["mode"] == "snapshot":
        _note("the log no longer has everything since then; going on from now.")
    if not isinstance(follower.since, dict) or answer["mode"] == "snapshot":
        follower.since = {name: answer[name] for name in ("epoch", "offset", "view")}


async def _subscribe(socket: ClientConnection, follower: Follower) -> dict[str, Any]:
    subscribe = {"type": "subscribe", "id": _REQUEST_ID, "topic": follower.topic, "since": follower.since}
    await _send(socket, subscribe)
    return await _receive(socket, "subscribed")


async def _print_changes(socket: ClientConnection, follower: Follower) -> None:
    while True:
        # `head` comes every few seconds: a longer silence is a dead connection.
        async with asyncio.timeout(SILENCE_SECONDS):
            message = orjson.loads(await socket.recv())
        match message["type"]:
            case "delta":
                for change in filter(follower.is_new, message["changes"]):
                    print(change_line(change, colours=follower.colours), flush=True)
                if not message.get("more"):
                    follower.moved_to(message)
            case "head":
                follower.moved_to(message)
            case "unsubscribed" if message["reason"] == "epoch":
                # Another epoch, or another view of the topic: the server says which when it is asked again.
                await _catch_up(socket, follower)
            case "unsubscribed" | "purge" | "rejected":
                raise StartupError(f"the gateway no longer sends {follower.topic}: {_reason(message)}.")
            case "goaway":
                _note("the gateway is going away.")
            case _:
                pass


async def _send(socket: ClientConnection, message: dict[str, Any]) -> None:
    await socket.send(orjson.dumps(message).decode())


async def _receive(socket: ClientConnection, wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            message: dict[str, Any] = orjson.loads(await socket.recv())
            if message["type"] == wanted:
                return message
            if message["type"] == "rejected":
                raise StartupError(f"the gateway refuses: {_reason(message)}.")


def _reason(message: dict[str, Any]) -> str:
    return str(message.get("message") or message.get("reason") or message.get("code"))


def _raise_if_final(closed: ConnectionClosed) -> None:
    code = closed.rcvd.code if closed.rcvd is not None else CloseCode.NORMAL
    # 4500 to 4999: connecting again changes nothing before somebody has done something.
    if 4500 <= code <= 4999:
        raise StartupError(f"the gateway has closed the connection: {_close_text(closed)}") from None


def _close_text(closed: ConnectionClosed) -> str:
    if closed.rcvd is None:
        return "no close frame came"
    meaning = CLOSES.get(CloseCode(closed.rcvd.code)) if closed.rcvd.code in list(CloseCode) else None
    text = meaning.meaning if meaning is not None else closed.rcvd.reason
    return f"{closed.rcvd.code}: {text}"


async def _demo_token(settings: Settings) -> str:
    if not settings.owner_database_url or not settings.token_key:
        raise StartupError(
            "no `branchline up` runs here and DATABASE_URL is not set: start it, or give a token with "
            "--token."
        )
    return await make_token(settings, DEMO_PERSON)


def _gateway_url(settings: Settings) -> str:
    if settings.gateway_url:
        return settings.gateway_url
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"ws://{host}:{settings.gateway_port}/ws"


def _colours() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _note(sentence: str) -> None:
    sys.stderr.write(f"branchline: {sentence}\n")
    sys.stderr.flush()
