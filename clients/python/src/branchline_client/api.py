"""The HTTP side of the protocol. Every request has a deadline; a connection that let one pass is not used again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
import orjson

from branchline_client.change import Change, Record, change_from_json
from branchline_client.credentials import Credentials
from branchline_client.errors import ApiError, MalformedMessageError, NeedsAuthError, UnreachableError
from branchline_client.message import Delta, Principal, principal_from_json
from branchline_client.mutation import Mutation, Result, mutation_to_json, result_from_json
from branchline_client.position import Position
from branchline_client.topic import Conditions, encode_part, write_filters

REQUEST_SECONDS = 5.0
PAGE_RECORDS = 200
PULL_CHANGES = 1_000

T = TypeVar("T")

_TOKEN_CODES = frozenset(
    {"not_authenticated", "token_malformed", "token_refused", "token_expired", "session_ended"}
)


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """The results of a push, and a position at which the log has what was written."""

    results: Sequence[Result]
    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Pull:
    """What came after a position; `has_more` if the next pull would find more at once."""

    delta: Delta
    view: str
    has_more: bool


@dataclass(frozen=True, slots=True)
class _Part:
    topic: str
    view: str
    epoch: str
    to_offset: int
    changes: tuple[Change, ...]
    has_more: bool
    is_partial: bool


class Api:
    """Requests to one server. Raises UnreachableError, ApiError, NeedsAuthError; MalformedMessageError is a defect."""

    def __init__(
        self, url: str, credentials: Credentials, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = credentials
        self._transport = transport
        self._http = self._open()
        self.on_date: Callable[[int, int], None] = lambda server_ms, round_trip_ms: None
        """Told of the server's time with each answer, to the second, and how long the way there and back took."""
        self._closing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def fetch_config(self) -> Mapping[str, Any]:
        """What a client needs before it signs in: `gateway_url` and more."""
        config: Mapping[str, Any] = _object(await self._send("GET", "/api/client-config"))
        return config

    async def fetch_principal(self) -> Principal:
        """Whom the token stands for."""
        return _read(principal_from_json, await self.request("GET", "/api/auth/me"))

    async def sync(self, client_id: str, now_ms: int, mutations: Sequence[Mutation]) -> SyncAnswer:
        """Push writes; the answer has a result for each."""
        body = {
            "client_id": client_id,
            "now_ms": now_ms,
            "mutations": [mutation_to_json(mutation) for mutation in mutations],
        }
        seconds = REQUEST_SECONDS + 0.01 * len(mutations)
        answer = await self.request("POST", "/api/sync", body, seconds=seconds)
        return _read(
            lambda data: SyncAnswer(
                [result_from_json(each) for each in data["results"]], data["epoch"], data["offset"]
            ),
            answer,
        )

    async def fetch_head(self, client_id: str, now_ms: int) -> tuple[str, int]:
        """Epoch and head of the log: the answer to a push of nothing."""
        answer = await self.sync(client_id, now_ms, [])
        return answer.epoch, answer.offset

    async def pull(self, topic: str, position: Position) -> Pull:
        """What came after a position, up to the end of a transaction. An ApiError 410 says: begin with a snapshot.

        A position without a view is good in any.
        """
        changes: list[Change] = []
        at = position
        while True:
            query = f"topic={encode_part(topic)}&epoch={encode_part(at.epoch)}&offset={at.offset}"
            query += f"&view={encode_part(at.view)}" if at.view else ""
            answer = await self.request("GET", f"/api/changes?{query}&limit={PULL_CHANGES}")
            part = _read(_part_from_json, answer)
            changes.extend(part.changes)
            at = Position(part.epoch, part.to_offset, part.view)
            if not part.is_partial:
                delta = Delta(part.topic, part.epoch, position.offset, at.offset, tuple(changes))
                return Pull(delta, part.view, part.has_more)

    async def pages(
        self, collection: str, conditions: Conditions
    ) -> AsyncIterator[tuple[list[Record], str, int]]:
        """The records that pass a filter, page by page, each with the epoch and an offset that it is not older than."""
        filters = write_filters(conditions)
        cursor: str | None = None
        while True:
            query = f"limit={PAGE_RECORDS}"
            query += f"&cursor={encode_part(cursor)}" if cursor else ""
            query += f"&{filters}" if filters else ""
            answer = _object(await self.request("GET", f"/api/{encode_part(collection)}?{query}"))
            yield answer["items"], answer["epoch"], answer["offset"]
            cursor = answer.get("next_cursor")
            if cursor is None:
                return

    async def fetch_record(self, collection: str, record_id: str) -> Record | None:
        """One record as it is now; None if there is none that this person may read."""
        try:
            found = await self.request("GET", f"/api/{encode_part(collection)}/{encode_part(record_id)}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        record: Record = _object(found)
        return record

    async def request(
        self, method: str, path: str, body: Any = None, *, seconds: float = REQUEST_SECONDS
    ) -> Any:
        """Send a request as the signed-in person, once more with another token if that one is refused."""
        token = await self._credentials.get()
        try:
            return await self._send(method, path, body, token=token, seconds=seconds)
        except ApiError as error:
            if error.status != 401 or error.code not in _TOKEN_CODES:
                raise
            self._credentials.refuse(token)
        token = await self._credentials.get()
        try:
            return await self._send(method, path, body, token=token, seconds=seconds)
        except ApiError as error:
            if error.status != 401:
                raise
            self._credentials.refuse(token)
            raise NeedsAuthError(error.detail) from error

    async def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        seconds: float = REQUEST_SECONDS,
    ) -> Any:
        headers = {"accept": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = orjson.dumps(body)
        http = self._http
        sent_at = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                response = await http.request(method, self.url + path, content=content, headers=headers)
        except (TimeoutError, httpx.TransportError) as error:
            self._replace(http)
            raise UnreachableError(
                f"{method} {path.partition('?')[0]}: {str(error) or 'no answer in time'}"
            ) from error
        date_ms = _date_ms(response.headers.get("date"))
        if date_ms is not None:
            self.on_date(date_ms, int((time.monotonic() - sent_at) * 1000))
        return _answer(response)

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=None, transport=self._transport, follow_redirects=False)

    def _replace(self, http: httpx.AsyncClient) -> None:
        """Leave connections that may be dead: the next request opens its own."""
        if self._http is http and self._transport is None:
            self._http = self._open()
            task = asyncio.create_task(http.aclose(), name="branchline close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _answer(response: httpx.Response) -> Any:
    try:
        data = orjson.loads(response.content) if response.content else None
    except orjson.JSONDecodeError:
        data = None
    if response.is_success:
        return data
    problem = data if isinstance(data, dict) else {}
    raise ApiError(
        response.status_code,
        str(problem.get("code") or f"http_{response.status_code}"),
        str(problem.get("detail") or problem.get("title") or response.reason_phrase),
        _seconds(response.headers.get("retry-after")),
    )


def _part_from_json(data: Mapping[str, Any]) -> _Part:
    return _Part(
        topic=data["topic"],
        view=data["view"],
        epoch=data["epoch"],
        to_offset=data["to"],
        changes=tuple(map(change_from_json, data["changes"])),
        has_more=data.get("more", False),
        is_partial=data.get("partial", False),
    )


def _date_ms(header: str | None) -> int | None:
    """The middle of the second that a `Date` names, in Unix milliseconds."""
    try:
        return None if header is None else int(parsedate_to_datetime(header).timestamp()) * 1000 + 500
    except ValueError:
        return None


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


def _object(data: Any) -> Any:
    if not isinstance(data, dict):
        raise MalformedMessageError(f"expected a JSON object, got {type(data).__name__}")
    return data


def _read(read: Callable[[Any], T], data: Any) -> T:
    try:
        return read(_object(data))
    except (KeyError, TypeError) as error:
        raise MalformedMessageError(f"expected an answer of the API; wrong is {error}") from error
