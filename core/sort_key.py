"""PURE. The one order of text in lists, cursors and clients: accents and case aside, then by code point.

`sort_key` in schema.sql is its twin; both are held to `tests/vectors/sort_key.json`.
"""

import re
import unicodedata

_MARKS = re.compile("[\u0300-\u036f]")


def sort_key(text: str) -> str:
    """The key by which `text` is compared, code point by code point."""
    return "".join(
        c.lower() if len(c.lower()) == 1 else c for c in _MARKS.sub("", unicodedata.normalize("NFKD", text))
    )
