"""Ids and time of this device."""

import secrets
import threading
import time
import uuid

_RANDOM_BITS = 74
_STEP_BITS = 32

_lock = threading.Lock()
_last = 0


def device_ms() -> int:
    """Unix milliseconds of this device's clock, right or wrong."""
    return time.time_ns() // 1_000_000


def new_client_id() -> str:
    """An id for this installation."""
    return str(uuid.uuid4())


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, 5.7 and 6.2 method 2): those of one process sort in the order of their making."""
    global _last
    with _lock:
        fresh = device_ms() << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        _last = value = max(fresh, _last + 1 + secrets.randbits(_STEP_BITS))
    random_b = value & (1 << 62) - 1
    random_a = value >> 62 & 0xFFF
    ms = value >> _RANDOM_BITS & (1 << 48) - 1
    return str(uuid.UUID(int=ms << 80 | 0x7 << 76 | random_a << 64 | 0b10 << 62 | random_b))
