"""What a handshake brings."""

import re

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from gateway.handshake import BadHandshakeError, Credentials, credentials_of, origins_of, path_of


def request(path: str = "/ws", **headers: str) -> Request:
    return Request(path, Headers(headers))


def test_credentials_are_a_ticket_or_a_header_or_nothing() -> None:
    assert credentials_of(request()) == Credentials()
    assert credentials_of(request("/ws?ticket=abc")) == Credentials(ticket="abc")
    assert credentials_of(request(Authorization="bearer x.y.z")) == Credentials(token="x.y.z")
    assert path_of(request("/ws?ticket=abc")) == "/ws"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/ws?token=x", {}, 400),
        ("/ws?Access_Token=x", {}, 400),
        ("/ws?jwt=", {}, 400),
        ("/ws?ticket=a&ticket=b", {}, 400),
        ("/ws?ticket=a", {"Authorization": "Bearer x"}, 400),
        ("/ws?" + "a=1&" * 30, {}, 400),
        ("/ws?ticket=", {}, 401),
        ("/ws?ticket=" + "x" * 300, {}, 401),
        ("/ws", {"Authorization": "Basic YTpi"}, 401),
        ("/ws", {"Authorization": "Bearer"}, 401),
    ],
)
def test_what_proves_nothing_is_refused(path: str, headers: dict[str, str], status: int) -> None:
    with pytest.raises(BadHandshakeError) as refused:
        credentials_of(request(path, **headers))
    assert refused.value.status == status


def test_two_headers_are_refused() -> None:
    headers = Headers()
    headers["Authorization"] = "Bearer a"
    headers["Authorization"] = "Bearer b"
    with pytest.raises(BadHandshakeError):
        credentials_of(Request("/ws", headers))


@pytest.mark.parametrize(
    ("origin", "is_local"),
    [
        ("http://localhost:5173", True),
        ("http://127.0.0.1", True),
        ("http://localhost.evil.test", False),
        ("http://localhost:1.evil.test", False),
        ("https://localhost", False),
        ("http://127.0.0.1:80@evil.test", False),
    ],
)
def test_local_origins_are_matched_whole(origin: str, is_local: bool) -> None:
    [pattern] = [each for each in origins_of((), allow_local=True) if isinstance(each, re.Pattern)]
    assert (pattern.fullmatch(origin) is not None) is is_local
    assert origins_of(("https://crm.test",), allow_local=False) == [None, "https://crm.test"]
