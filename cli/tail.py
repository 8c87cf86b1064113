"""`branchline tail`: changes as they happen, one line each, through the Python client."""

import os
import sys
from urllib.parse import unquote

import uvloop

from branchline_client import BranchlineError, NeedsAuthError, State, connect
from branchline_client.credentials import TokenSource
from branchline_client.topic import NULL, Where
from cli.change_line import change_line
from cli.token import make_token
from core.lifecycle import EXIT_OK, StartupError, fail
from core.settings import Settings

DEMO_PERSON = "ana@demo.test"


def run(settings: Settings, *, topic: str, access_token: str | None) -> int:
    """Follow until Ctrl-C; the exit status. Without a token, in development, as the demo's manager."""
    try:
        # asyncio's own loop sleeps through a Ctrl-C that comes between two of its turns, until something else wakes it.
        uvloop.run(_follow(settings, topic, access_token or _demo_token(settings)))
    except StartupError as error:
        return fail(error)
    except KeyboardInterrupt:
        pass
    return EXIT_OK


async def _follow(settings: Settings, topic: str, token: TokenSource) -> None:
    """Print changes, and after a lost connection go on where it was lost.

    Raises StartupError if nothing can be reached at first, or the server says that trying again is of no use.
    """
    url = settings.page_url
    collection, where, record_id = parts_of(topic)
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    void_up_to = 0
    try:
        async with connect(url, token, gateway_url=settings.gateway_url or None) as client:
            stream = client.subscribe(collection, where=where, id=record_id)
            first = await client.wait_for_state(State.LIVE, State.POLLING, State.WAITING)
            if first is State.WAITING:
                raise StartupError(
                    f"nothing can be followed at {url} ({client.reason}): start it (`branchline up`), or correct "
                    "BRANCHLINE_PUBLIC_URL or BRANCHLINE_GATEWAY_URL."
                )
            await stream.begun()
            client.on_state(_tell)
            _note(f"following {topic} …")
            async for change in stream:
                if change.operation == "reset":
                    # Each record that there is follows: none of them is news.
                    void_up_to = change.offset
                    _note("the server cannot go on from there; going on from now.")
                elif change.offset > void_up_to:
                    print(change_line(change, colours=colours), flush=True)
    except BranchlineError as error:
        raise StartupError(f"cannot follow: {error}") from None


def parts_of(topic: str) -> tuple[str, Where, str | None]:
    """The collection, filter and record that a topic names; whether they make sense, the server says."""
    path, _, query = topic.partition("?")
    collection, slash, record_id = path.partition("/")
    where = {}
    for condition in query.split("&") if query else []:
        field, _, values = condition.partition("=")
        where[unquote(field)] = [None if text == NULL else unquote(text) for text in values.split(",")]
    return unquote(collection), where, unquote(record_id) if slash else None


def _demo_token(settings: Settings) -> TokenSource:
    if not settings.owner_database_url or not settings.token_key:
        raise StartupError(
            "no `branchline up` runs here and DATABASE_URL is not set: start it, or give a token with "
            "--token."
        )

    async def give() -> str:
        try:
            return await make_token(settings, DEMO_PERSON)
        except StartupError as error:
            raise NeedsAuthError(str(error)) from None

    return give


def _tell(state: State, reason: str) -> None:
    match state:
        case State.WAITING:
            _note(f"connection lost ({reason}); connecting again …")
        case State.LIVE:
            _note("reconnected.")
        case State.POLLING:
            _note(f"fetching changes by HTTP: {reason}.")
        case _:
            pass


def _note(sentence: str) -> None:
    sys.stderr.write(f"branchline: {sentence}\n")
    sys.stderr.flush()
