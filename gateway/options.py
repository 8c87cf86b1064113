"""What a gateway's limits and rhythms are. Made of the settings in the composition root; tests make their
own.
"""

from dataclasses import dataclass

from core.addresses import Network

SUBPROTOCOL = "branchline.v1"
PATH = "/ws"


@dataclass(frozen=True, slots=True)
class Options:
    """Limits and rhythms of one gateway. A limit of 0 is no limit, where settings may say so."""

    path: str = PATH
    subprotocol: str | None = SUBPROTOCOL
    allowed_origins: tuple[str, ...] = ()
    allow_local_origins: bool = False

    message_bytes: int = 64 * 1024
    """Largest message from a client."""
    frames_per_second: int = 100
    """Frames of one socket that are no message of their own: pings, pongs, parts of messages."""
    unsent_bytes: int = 256 * 1024
    """Bytes that may wait for a client to read before its socket counts as slow."""
    socket_buffer_bytes: int = 64 * 1024
    """The kernel's buffer for what is sent: a large one would hide a slow reader."""
    subscriptions: int = 100
    """Topics that one socket may follow."""
    announcements: int = 20
    """Topics on which one socket may announce a state at the same time."""
    snapshot_page_records: int = 500
    tail_bytes_per_organization: int = 16 * 1024 * 1024
    tail_bytes: int = 128 * 1024 * 1024

    handshake_seconds: float = 10.0
    authenticate_seconds: float = 5.0
    ping_seconds: float = 10.0
    close_seconds: float = 1.0
    drain_seconds: float = 5.0
    """Time in which a slow socket has to read what waits for it."""
    heartbeat_ms: int = 10_000
    silence_seconds: float = 2.0
    """Time without the relay's heartbeat after which the gateway reads the log itself."""
    poll_seconds: float = 0.25
    goaway_spread_seconds: float = 5.0

    trusted_proxies: tuple[Network, ...] = ()
    connections_per_user: int = 10
    connections_per_organization: int = 1_000
    connections_per_address: int = 100
    messages_per_second_per_user: int = 20
    views_per_user: int = 200
    """Views that one person's sockets may have between them: each is worked out for itself at every change."""
