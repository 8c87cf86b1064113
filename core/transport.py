"""Makes a closed transport an error of the connection, on uvloop as on asyncio.

Where asyncio's own transports drop what is written to them after the other side has cut the connection, uvloop's raise
a RuntimeError until the driver has heard of it, and drivers pass that on as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def closed_transports_are_errors() -> Iterator[None]:
    """Raise ConnectionResetError in place of uvloop's RuntimeError about a closed transport."""
    try:
        yield
    except RuntimeError as error:
        if "closed" not in str(error):
            raise
        raise ConnectionResetError(str(error)) from error
