"""A gateway that says what a test has it say, and the files of a page that has no other server."""

import asyncio
import json
from pathlib import Path
from typing import Any

from playwright.async_api import Page, Route, WebSocketRoute

ORIGIN = "http://page.test"
DEMO = Path(__file__).resolve().parents[2] / "clients" / "demo"
TYPES = {".js": "text/javascript", ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml"}

CLIENT_FILES = DEMO.parent / "javascript"
EMPTY = """<!doctype html><title>empty</title>
<script type="importmap">{ "imports": { "uuidv7": "/client/vendor/uuidv7/index.js" } }</script>"""

CLOCK = f"{1:013d}-0000-somebody"

# The client under test.
CLIENT = """async () => {
  const { connect } = await import("/client/src/index.js");
  window.client = connect({ token: "a token", gateway_url: "ws://page.test/ws" });
  window.leads = client.live("leads");
}"""


class ScriptedGateway:
    """Sockets that the page opens, and what it sends on them, in order."""

    def __init__(self) -> None:
        self.sockets: asyncio.Queue[WebSocketRoute] = asyncio.Queue()
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.socket: WebSocketRoute

    async def serve(self, page: Page) -> None:
        """Answer for the origin of the page: its files, and the socket."""
        await page.route(f"{ORIGIN}/**", self._file)
        await page.route_web_socket("ws://page.test/ws", self._opened)
        await page.goto(f"{ORIGIN}/empty")

    async def _file(self, route: Route) -> None:
        name = route.request.url.removeprefix(f"{ORIGIN}/")
        path = CLIENT_FILES / name.removeprefix("client/") if name.startswith("client/") else DEMO / name
        if name.startswith("api/"):
            await route.fulfill(json={"items": []})
        elif path.is_file():
            await route.fulfill(body=path.read_text(), content_type=TYPES[path.suffix])
        else:
            await route.fulfill(body=EMPTY, content_type="text/html")

    def _opened(self, socket: WebSocketRoute) -> None:
        socket.on_message(lambda text: self.messages.put_nowait(json.loads(text)))
        self.sockets.put_nowait(socket)

    async def next(self, type_: str) -> dict[str, Any]:
        """The page's next message of this type; others are passed over."""
        async with asyncio.timeout(30):
            while (message := await self.messages.get())["type"] != type_:
                pass
            return message

    async def welcome(self) -> dict[str, Any]:
        """Take the page's next socket and sign it in; the `subscribe` that follows."""
        async with asyncio.timeout(30):
            self.socket = await self.sockets.get()
        await self.next("authenticate")
        self.say(
            type="ready",
            connection_id="c",
            epoch="e",
            offset=0,
            principal={"user_id": "u", "name": "Ben", "role": "agent", "branch_ids": None, "reads": "all"},
            server_time_ms=0,
            heartbeat_ms=10_000,
            limits={},
        )
        return await self.next("subscribe")

    def say(self, **message: Any) -> None:
        """Send a message to the page; `from_` stands for `from`."""
        if "from_" in message:
            message["from"] = message.pop("from_")
        self.socket.send(json.dumps(message))

    def subscribed(self, asked: dict[str, Any], mode: str, offset: int, *, epoch: str = "e") -> None:
        """Answer a `subscribe`."""
        self.say(
            type="subscribed", id=asked["id"], topic="leads", view="v", mode=mode, epoch=epoch, offset=offset
        )

    def snapshot(self, records: list[dict[str, Any]], offset: int, **more: Any) -> None:
        """Send a page of a snapshot, the last one unless it is said otherwise."""
        page = {"last": True, "epoch": "e"} | more
        self.say(type="snapshot", topic="leads", records=records, offset=offset, **page)

    def delta(self, from_: int, to: int, *changes: dict[str, Any], **more: Any) -> None:
        """Send a delta."""
        self.say(type="delta", topic="leads", epoch="e", from_=from_, to=to, changes=list(changes), **more)


def lead(id_: str, version: int = 1, **fields: Any) -> dict[str, Any]:
    """A record."""
    return {"id": id_, "version": version, "created_at": f"2026-01-01T00:00:00.{id_}Z"} | fields


def change(
    offset: int, id_: str, version: int, operation: str = "update", *, name: str = ""
) -> dict[str, Any]:
    """A change as a delta carries it, of the record's name."""
    whole = operation in ("insert", "enter")
    fields = lead(id_, version, name=name) if whole else {"name": name} if name else {}
    known = {"offset": offset, "id": id_, "version": version, "operation": operation, "fields": fields}
    return known | {"collection": "leads", "actor": None, "clock": CLOCK, "committed_at_ms": 0}
