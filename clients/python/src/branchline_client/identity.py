"""Ids and time of this device."""

import os
import time
import uuid


def device_ms() -> int:
    """Unix milliseconds of this device's clock, right or wrong."""
    return time.time_ns() // 1_000_000


def new_client_id() -> str:
    """An id for this installation."""
    return str(uuid.uuid4())


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, 5.7): ids made later sort later, but for those of one millisecond."""
    value = bytearray(device_ms().to_bytes(6, "big") + os.urandom(10))
    value[6] = 0x70 | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    return str(uuid.UUID(bytes=bytes(value)))
