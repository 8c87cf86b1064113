"""PURE but for the library's request. What a handshake brings: where it goes, and what proves who sends it."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import MultipleValuesError
from websockets.http11 import Request

_TOKEN_NAMES = frozenset({"token", "access_token", "jwt", "authorization", "bearer"})
_BEARER = re.compile(r"bearer ([^\s]+)", re.IGNORECASE)
_LOCAL_ORIGIN = re.compile(r"http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the handshake brings: a one-time `ticket`, or a `token` in a header, or neither."""

    ticket: str | None = None
    token: str | None = None


class BadHandshakeError(ValueError):
    """The handshake is refused; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def path_of(request: Request) -> str:
    """Give the path of a request without its query."""
    return request.path.partition("?")[0]


def credentials_of(request: Request) -> Credentials:
    """Read what proves who sends the handshake. Raises BadHandshakeError.

    A token in the query is refused: addresses end up in logs.
    """
    try:
        query = parse_qs(urlsplit(request.path).query, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise BadHandshakeError(400, "the query cannot be read") from error
    if _TOKEN_NAMES.intersection(name.lower() for name in query):
        raise BadHandshakeError(400, "a token does not belong into an address: send it in authenticate")
    tickets = query.get("ticket", [])
    try:
        header = request.headers.get("Authorization")
    except MultipleValuesError as error:
        raise BadHandshakeError(400, "one Authorization header was expected") from error
    if len(tickets) > 1 or (tickets and header is not None):
        raise BadHandshakeError(400, "one ticket or one Authorization header was expected")
    if tickets:
        if not tickets[0] or len(tickets[0]) > 200:
            raise BadHandshakeError(401, "the ticket is not one of this server's")
        return Credentials(ticket=tickets[0])
    if header is None:
        return Credentials()
    match = _BEARER.fullmatch(header.strip())
    if match is None:
        raise BadHandshakeError(401, "Authorization: Bearer was expected")
    return Credentials(token=match.group(1))


def origins_of(allowed: tuple[str, ...], *, allow_local: bool) -> list[Any]:
    """Give the origins whose pages may connect, for the library's check.

    None among them: what is no page sends no origin, and a socket is opened by a token, never by a cookie.
    """
    return [None, *allowed, *([_LOCAL_ORIGIN] if allow_local else [])]
