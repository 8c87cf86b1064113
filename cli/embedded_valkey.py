"""A Valkey of our own: no persistence, since nothing in it has to outlive it."""

import signal

from cli.placement import Placement

LOCALHOST = "127.0.0.1"
STOP_STEPS = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


def redis_url(port: int, password: str) -> str:
    """A URL that valkey-cli and redis-py take."""
    return f"redis://:{password}@{LOCALHOST}:{port}/0"


def arguments(placement: Placement) -> list[str]:
    """The command that runs the server in the foreground, with its configuration on standard input."""
    return [str(placement.valkey), "-"]


def configuration(port: int, password: str) -> bytes:
    """What the server reads on its standard input, so that the password is in no argument and on no disk."""
    lines = (
        f"bind {LOCALHOST}",
        f"port {port}",
        f"requirepass {password}",
        'save ""',
        "appendonly no",
        "daemonize no",
        "dir /",
        # A subscriber that falls this far behind is cut off and catches up from the log.
        "client-output-buffer-limit pubsub 32mb 8mb 60",
        # Bounded, and refusing rather than forgetting: tickets and presence are small and expire.
        "maxmemory 256mb",
        "maxmemory-policy noeviction",
    )
    return "".join(f"{line}\n" for line in lines).encode()
