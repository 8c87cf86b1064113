"""Which answers are compressed, how, and what their entity tags are."""

import gzip
from typing import Any

import pytest
import zstandard
from starlette.types import Receive, Scope, Send

from api.compression import MINIMUM_BYTES, THREAD_BYTES, Compression, choose_coding

TEXT = b'{"name":"a lead","notes":"words and words and words"}' * 100
JSON = (b"content-type", b"application/json")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip;q=0.8", "gzip"),
        ("zstd ; q=1.000 , gzip;q=0.8", "zstd"),
        ("gzip;q=0", None),
        ("gzip;q=0, *", "zstd"),
        ("zstd;q=0, *;q=0.1", "gzip"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("identity", None),
        ("identity;q=0.5, gzip;q=0.4", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0, br", None),
        ("br, deflate", None),
        ("gzip;q=2", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=x, zstd;q=0.1", "zstd"),
        (";;,,gzip", "gzip"),
        ("gzip," * 1000, None),
    ],
)
def test_the_coding_is_the_one_that_the_client_likes_best(accepted: str, coding: str | None) -> None:
    assert choose_coding(accepted) == coding


class Call:
    """One request to an application that answers with `bodies`."""

    def __init__(
        self,
        *bodies: bytes,
        accept: str | None = "gzip",
        status: int = 200,
        headers: list[tuple[bytes, bytes]] | None = None,
        asked: dict[str, str] | None = None,
        path: str = "/api/leads",
        method: str = "GET",
    ) -> None:
        self.bodies = bodies
        self.status = status
        self.answered = [JSON] if headers is None else headers
        self.path, self.method = path, method
        named = {**({} if accept is None else {"accept-encoding": accept}), **(asked or {})}
        self.asked = [(name.encode(), value.encode()) for name, value in named.items()]
        self.seen: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.body = b""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen = {name.decode(): value.decode() for name, value in scope["headers"]}
        scope["route"] = "found"
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.answered)})
        for number, body in enumerate(self.bodies, 1):
            more = number < len(self.bodies)
            await send({"type": "http.response.body", "body": body, "more_body": more})

    async def run(self) -> "Call":
        done = False

        async def receive() -> Any:
            raise AssertionError("nothing is read")

        async def send(message: Any) -> None:
            nonlocal done
            if message["type"] == "http.response.start":
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                assert not done
                self.body += message.get("body", b"")
                done = not message.get("more_body", False)

        scope: Any = {"type": "http", "path": self.path, "method": self.method, "headers": self.asked}
        await Compression(self.app)(scope, receive, send)
        assert done
        assert scope["route"] == "found"  # the layers outside read it
        return self

    @property
    def plain(self) -> bytes:
        match self.headers.get("content-encoding"):
            case "gzip":
                return gzip.decompress(self.body)
            case "zstd":
                return zstandard.ZstdDecompressor().decompressobj().decompress(self.body)
            case _:
                return self.body


@pytest.mark.parametrize("accept", ["gzip", "zstd"])
async def test_an_answer_over_a_kilobyte_is_compressed(accept: str) -> None:
    call = await Call(TEXT, accept=accept, headers=[JSON, (b"content-length", b"5300")]).run()
    assert call.headers["content-encoding"] == accept
    assert call.headers["vary"] == "Accept-Encoding"
    assert int(call.headers["content-length"]) == len(call.body) < len(TEXT) / 5
    assert call.plain == TEXT


@pytest.mark.parametrize("accept", ["gzip", "zstd"])
async def test_a_large_one_is_compressed_beside_the_event_loop(accept: str) -> None:
    large = TEXT * (max(THREAD_BYTES.values()) // len(TEXT) + 1)
    assert (await Call(large, accept=accept).run()).plain == large


@pytest.mark.parametrize("accept", ["gzip", "zstd"])
async def test_a_file_that_comes_in_pieces_is_compressed_as_it_comes(accept: str) -> None:
    length = (b"content-length", str(3 * len(TEXT)).encode())
    call = await Call(TEXT, TEXT, TEXT, b"", accept=accept, headers=[JSON, length]).run()
    assert call.plain == TEXT * 3
    assert "content-length" not in call.headers
    assert len(call.body) < len(TEXT)


@pytest.mark.parametrize(
    ("bodies", "options"),
    [
        ((TEXT[: MINIMUM_BYTES - 1],), {}),
        ((b"",), {"status": 204, "headers": []}),
        ((TEXT,), {"headers": [(b"content-type", b"image/png")]}),
        ((TEXT,), {"headers": [(b"content-type", b"text/event-stream")]}),
        ((TEXT,), {"headers": []}),
        ((TEXT,), {"headers": [JSON, (b"content-encoding", b"br")]}),
        ((TEXT,), {"headers": [JSON, (b"cache-control", b"no-transform")]}),
        ((TEXT,), {"status": 206}),
        ((TEXT,), {"path": "/api/auth/login"}),
        ((b"small", b""), {"headers": [JSON, (b"content-length", b"5")]}),
    ],
)
async def test_what_is_tiny_secret_or_compressed_already_is_left_alone(
    bodies: tuple[bytes, ...], options: dict[str, Any]
) -> None:
    call = await Call(*bodies, **options).run()
    assert call.body == b"".join(bodies)
    assert "vary" not in call.headers
    assert call.headers.get("content-encoding") in (None, "br")


async def test_who_asks_for_nothing_gets_the_bytes_and_caches_are_told_that_it_depends() -> None:
    for accept in (None, "identity", "gzip;q=0"):
        call = await Call(TEXT, accept=accept, headers=[JSON, (b"vary", b"authorization")]).run()
        assert (call.body, call.headers["vary"]) == (TEXT, "authorization, Accept-Encoding")


async def test_what_does_not_get_smaller_is_sent_as_it_is() -> None:
    noise = zstandard.ZstdCompressor(level=19).compress(bytes(range(256)) * 8 + TEXT[:500])
    noise += bytes((n * 7919 >> 3) % 256 ^ n % 251 for n in range(2_000))
    packed = gzip.compress(noise, 9)
    assert len(packed) > MINIMUM_BYTES
    call = await Call(packed, headers=[JSON, (b"etag", b'"3"')]).run()
    assert (call.body, call.headers["etag"]) == (packed, '"3"')
    assert "content-encoding" not in call.headers


@pytest.mark.parametrize(
    ("tag", "status", "sent"),
    [
        ('"3"', 200, '"3-gzip"'),
        ('"3"', 201, '"3-gzip"'),
        ('W/"abc"', 200, 'W/"abc"'),
        ('"3"', 412, '"3"'),
    ],
)
async def test_a_strong_tag_names_its_coding_and_a_weak_one_means_the_same_anyway(
    tag: str, status: int, sent: str
) -> None:
    call = await Call(TEXT, status=status, headers=[JSON, (b"etag", tag.encode())]).run()
    assert call.headers["etag"] == sent


async def test_a_tag_that_names_a_coding_counts_as_the_one_it_was_made_of() -> None:
    asked = {"if-none-match": 'W/"1-gzip", "2", "3-zstd"', "if-match": '"3-gzip"', "x-other": '"3-gzip"'}
    call = await Call(TEXT, asked=asked).run()
    assert call.seen["if-none-match"] == 'W/"1", "2", "3"'
    assert (call.seen["if-match"], call.seen["x-other"]) == ('"3"', '"3-gzip"')


@pytest.mark.parametrize(
    ("asked", "accept", "sent"),
    [
        ('"3-gzip"', "gzip", '"3-gzip"'),
        ('"3-gzip", "3-zstd"', "zstd", '"3-zstd"'),
        ('"3-zstd"', "gzip", '"3-zstd"'),
        ('"3"', "gzip", '"3"'),
        ("*", "gzip", '"3"'),
    ],
)
async def test_not_modified_has_the_tag_that_the_client_has(asked: str, accept: str, sent: str) -> None:
    call = await Call(
        b"", status=304, headers=[(b"etag", b'"3"')], asked={"if-none-match": asked}, accept=accept
    ).run()
    assert (call.headers["etag"], call.headers["vary"]) == (sent, "Accept-Encoding")
    assert "content-encoding" not in call.headers


async def test_head_has_the_headers_of_get() -> None:
    length = (b"content-length", str(len(TEXT)).encode())
    tag = (b"etag", b'"3"')
    whole = await Call(TEXT, headers=[JSON, length, tag], method="HEAD").run()
    of_file = await Call(b"", headers=[JSON, length, tag], method="HEAD").run()
    for call in (whole, of_file):
        assert (call.headers["content-encoding"], call.headers["etag"]) == ("gzip", '"3-gzip"')
    assert "content-length" not in of_file.headers
    assert of_file.body == b""
