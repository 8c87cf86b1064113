"""PURE. What a UUID of version 7 says about its age (RFC 9562, section 5.7)."""

import re

_VERSION_7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def milliseconds_of(identifier: str) -> int | None:
    """When a lower-case UUID of version 7 was made, in Unix milliseconds; None for any other."""
    if not _VERSION_7.fullmatch(identifier):
        return None
    return int(identifier[:8] + identifier[9:13], 16)
