"""Reaching PostgreSQL and Redis, or one line that says why not and how to mend it."""

import asyncio
from urllib.parse import urlsplit

import asyncpg

from core.lifecycle import StartupError

CONNECT_SECONDS = 10.0
OLDEST_VERSION = 18


def describe(url: str) -> str:
    """`host:port/database` of a URL, without the user and password in it."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.hostname or 'localhost'}{port}{parts.path if len(parts.path) > 1 else ''}"


async def connect(
    url: str, *, variable: str, application_name: str = "branchline command"
) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection to PostgreSQL 18 or later; `variable` is the setting that `url` comes from.

    Raises StartupError if the server cannot be reached, refuses the login or is too old.
    """
    place = f"PostgreSQL at {describe(url)}"
    try:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            url, timeout=CONNECT_SECONDS, server_settings={"application_name": application_name}
        )
    except asyncpg.InvalidCatalogNameError:
        raise StartupError(
            f"{place} has no such database: make it (`createdb`), or correct {variable}."
        ) from None
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
        raise StartupError(f"{place} refuses the user or the password: correct {variable}.") from None
    except asyncpg.CannotConnectNowError:
        raise StartupError(f"{place} is still starting or recovering: try again in a moment.") from None
    except asyncpg.TooManyConnectionsError:
        raise StartupError(f"{place} has no connection left: raise max_connections or end some.") from None
    except TimeoutError:
        raise StartupError(
            f"{place} does not answer within {CONNECT_SECONDS:.0f} s: check that it runs and {variable}."
        ) from None
    except OSError as error:
        raise StartupError(
            f"{place} cannot be reached ({error.strerror or error}): start it, or correct {variable}."
        ) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise StartupError(f"{place} cannot be used ({error}): correct {variable}.") from None
    version = connection.get_server_version().major
    if version < OLDEST_VERSION:
        await connection.close()
        raise StartupError(
            f"{place} is version {version}, and {OLDEST_VERSION} or later is needed: upgrade it, or correct "
            f"{variable}."
        )
    return connection


async def check_redis(url: str, *, variable: str = "REDIS_URL") -> None:
    """Raise StartupError if no Redis or Valkey answers there."""
    # Imported here: it takes a third of a second, and most commands have no need of it.
    import redis.asyncio as redis

    place = f"Redis at {describe(url)}"
    try:
        client = redis.Redis.from_url(
            url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS
        )
    except ValueError as error:
        raise StartupError(
            f"{variable} is wrong ({error}): give a URL such as redis://host:6379/0."
        ) from None
    try:
        await client.ping()
    except redis.AuthenticationError:
        raise StartupError(f"{place} refuses the password: correct {variable}.") from None
    except redis.TimeoutError:
        raise StartupError(
            f"{place} does not answer within {CONNECT_SECONDS:.0f} s: check that it runs and {variable}."
        ) from None
    except (redis.RedisError, OSError) as error:
        raise StartupError(f"{place} cannot be used ({error}): start it, or correct {variable}.") from None
    finally:
        await client.aclose()


async def valkey_answers(host: str, port: int, password: str) -> bool:
    """Whether our own Valkey answers a PING. A few bytes on a socket, in place of a library's start-up time."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"AUTH {password}\r\nPING\r\n".encode())
                return (await reader.readline(), await reader.readline()) == (b"+OK\r\n", b"+PONG\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
