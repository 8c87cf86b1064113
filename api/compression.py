"""Answers over 1 KB in fewer bytes: zstd or gzip, as the client asks; one pure-ASGI layer, which sees to the tags too.

BREACH guesses a secret by having a victim's browser ask for answers that hold the secret beside words of the
attacker's, and by measuring them. A stranger's page cannot have anything asked for here in somebody's name: the
token is in a header that only our own pages set, never in a cookie. And no secret stands in an answer beside
records; answers that are secrets, under `/api/auth/`, are left as they are.
"""

import asyncio
import re
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

import zstandard
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Coding = Literal["zstd", "gzip"]

MINIMUM_BYTES = 1024
"""Below it the headers weigh more than what is won."""
THREAD_BYTES: Mapping[Coding, int] = {"zstd": 512 * 1024, "gzip": 64 * 1024}
"""From here on it takes a millisecond or more, and is done beside the event loop."""
ZSTD_LEVEL = 3
GZIP_LEVEL = 5

_EXCLUDED = "/api/auth/"
_CODINGS: tuple[Coding, ...] = ("zstd", "gzip")  # the first is liked best where the client likes both
_MAX_HEADER = 500
_MEMBER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*;\s*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")
_CODED_TAG = re.compile(rb'"([^"]*)-(?:zstd|gzip)"')
_CONDITIONS = frozenset({b"if-match", b"if-none-match"})
_TYPES = frozenset({"application/json", "application/javascript", "application/xml"})
_zstd = zstandard.ZstdCompressor(level=ZSTD_LEVEL)


@lru_cache(maxsize=256)
def choose_coding(accepted: str) -> Coding | None:
    """Which coding an Accept-Encoding asks for (RFC 9110, 12.5.3); None: the bytes as they are."""
    weights: dict[str, float] = {}
    for member in accepted.split(",") if len(accepted) <= _MAX_HEADER else ():
        match = _MEMBER.fullmatch(member.strip())
        if match is not None:
            name = match.group(1).lower()
            weights["gzip" if name == "x-gzip" else name] = float(match.group(2) or 1)
    others = weights.get("*", 0.0)
    best = max(_CODINGS, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


class Compression:
    """Wraps the application's routes.

    A strong entity tag is one of a body as it is: a compressed one gets its coding at the end, `"3-zstd"` (RFC 9110,
    8.8.3.3). In If-Match and If-None-Match such a tag counts as the one that it was made of, so routes know nothing of
    this.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(_EXCLUDED):
            await self._app(scope, receive, send)
            return
        headers = scope["headers"]
        accepted = ", ".join(value.decode("latin-1") for name, value in headers if name == b"accept-encoding")
        asked = "".join(value.decode("latin-1") for name, value in headers if name == b"if-none-match")
        # In this scope and no copy of it: the layers outside read from it what the router leaves there.
        scope["headers"] = [
            (name, _CODED_TAG.sub(rb'"\1"', value) if name in _CONDITIONS else value)
            for name, value in headers
        ]
        answer = _Answer(send, choose_coding(accepted), asked, is_head=scope["method"] == "HEAD")
        await self._app(scope, receive, answer.send)


class _Answer:
    """Passes an answer on, compressed if it is worth it. What is known of its length is known with its first body."""

    def __init__(self, send: Send, coding: Coding | None, asked: str, *, is_head: bool) -> None:
        self._send = send
        self._coding = coding
        self._asked = asked
        self._is_head = is_head
        self._start: Message | None = None
        self._feed: Callable[[bytes, bool], bytes] | None = None

    async def send(self, message: Message) -> None:
        """Take one message of the application."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            if message["status"] == 304:
                self._name_known_tag(headers)
            elif _is_worth_it(message["status"], headers):
                self._start = message
                return
        elif message["type"] == "http.response.body":
            start, self._start = self._start, None
            if start is not None:
                message = await self._begin(start, message)
            elif self._feed is not None:
                is_more = message.get("more_body", False)
                message = {**message, "body": self._feed(message.get("body", b""), not is_more)}
        await self._send(message)

    async def _begin(self, start: Message, message: Message) -> Message:
        """Send the start; give the first body as it is to be sent."""
        headers = MutableHeaders(raw=start["headers"])
        body, is_more = message.get("body", b""), message.get("more_body", False)
        if _length(headers, body, is_more) >= MINIMUM_BYTES:
            headers.add_vary_header("Accept-Encoding")
            if self._coding is not None:
                message = await self._compress(self._coding, start, message, body, is_more)
        await self._send(start)
        return message

    async def _compress(
        self, coding: Coding, start: Message, message: Message, body: bytes, is_more: bool
    ) -> Message:
        headers = MutableHeaders(raw=start["headers"])
        if is_more:
            self._feed = _feeder(coding)
            compressed = self._feed(body, False)
            del headers["content-length"]
        elif body:
            work = _compress if len(body) < THREAD_BYTES[coding] else _compress_in_thread
            compressed = await work(coding, body)
            if len(compressed) >= len(body):
                return message
            headers["content-length"] = str(len(compressed))
        elif self._is_head:
            # A file's HEAD: what its GET would be, whose length nobody knows yet.
            compressed = b""
            del headers["content-length"]
        else:
            return message
        headers["content-encoding"] = coding
        tag = headers.get("etag")
        # The tag of an error is the record's, and not this body's.
        if tag is not None and tag.startswith('"') and start["status"] < 300:
            headers["etag"] = f'{tag[:-1]}-{coding}"'
        return {**message, "body": compressed}

    def _name_known_tag(self, headers: MutableHeaders) -> None:
        """304 has the tag that 200 would have had: the one that the client has, where it names it."""
        headers.add_vary_header("Accept-Encoding")
        tag = headers.get("etag", "")
        codings = sorted(_CODINGS, key=lambda coding: coding != self._coding)
        coded = (f'{tag[:-1]}-{coding}"' for coding in codings)
        known = next((each for each in coded if tag.startswith('"') and each in self._asked), None)
        if known is not None and tag not in self._asked:
            headers["etag"] = known


def _is_worth_it(status: int, headers: MutableHeaders) -> bool:
    """Whether an answer's body may be compressed at all: not a part of a file, and not what is compressed already."""
    if status < 200 or status in (204, 205, 206):
        return False
    if "content-encoding" in headers or "no-transform" in headers.get("cache-control", ""):
        return False
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return (
        media_type in _TYPES
        or media_type.endswith(("+json", "+xml"))
        or (media_type.startswith("text/") and media_type != "text/event-stream")
    )


def _length(headers: MutableHeaders, body: bytes, is_more: bool) -> int:
    """How long the body is; MINIMUM_BYTES where nobody says."""
    if body and not is_more:
        return len(body)
    announced = headers.get("content-length", "")
    return int(announced) if announced.isdigit() else MINIMUM_BYTES if is_more else 0


async def _compress(coding: Coding, body: bytes) -> bytes:
    if coding == "zstd":
        return _zstd.compress(body)
    return zlib.compress(body, GZIP_LEVEL, zlib.MAX_WBITS | 16)


async def _compress_in_thread(coding: Coding, body: bytes) -> bytes:
    feed = _feeder(coding)
    return await asyncio.to_thread(feed, body, True)


def _feeder(coding: Coding) -> Callable[[bytes, bool], bytes]:
    """What compresses piece by piece: gives what is ready, with the last piece the rest."""
    compressor: Any
    if coding == "zstd":
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    else:
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)

    def feed(piece: bytes, is_last: bool) -> bytes:
        ready: bytes = compressor.compress(piece)
        return ready + compressor.flush() if is_last else ready

    return feed
