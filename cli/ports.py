"""Which ports are free."""

import contextlib
import random
import socket
from collections.abc import Collection

from core.lifecycle import StartupError

# Below what kernels hand out to outgoing connections: a client that keeps trying to reach a stopped server on
# such a port can be given that very port as its own, is then connected to itself, and keeps the server from
# coming back.
FIRST_PORT = 20_000
LAST_PORT = 32_000


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with contextlib.suppress(OSError):
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()
            return True
    return False


def require_free(host: str, port: int, *, use: str, option: str) -> None:
    """Raise StartupError if the port cannot be listened on; `option` is what chooses another."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise StartupError(
            f"{host} is not an address of this machine ({error.strerror}): give --host one that is, such as "
            "127.0.0.1."
        ) from None
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            raise StartupError(
                f"port {port} on {host}, for {use}, cannot be used ({error.strerror}): end what uses it, or "
                f"choose another with {option}."
            ) from None


def pick_free(host: str, *, preferred: int | None = None, taken: Collection[int] = ()) -> int:
    """A free port that is not in `taken`: the preferred one if it is free."""
    if preferred is not None and preferred not in taken and is_free(host, preferred):
        return preferred
    for port in random.sample(range(FIRST_PORT, LAST_PORT), k=200):
        if port not in taken and is_free(host, port):
            return port
    raise StartupError(
        f"no free port was found on {host} between {FIRST_PORT} and {LAST_PORT}: end what uses them."
    )
