"""What no log may hold: tokens, tickets, hashes of passwords, links of mails, canaries. Every stack's logs are read."""

import re
from collections.abc import Iterable
from pathlib import Path

PATTERNS = {
    "an access token": re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "a ticket": re.compile(r"ticket=(?!\[redacted\])[A-Za-z0-9_-]{8,}"),
    "a portal token": re.compile(r"portal_[A-Za-z0-9_-]{20,}"),
    "a bearer": re.compile(r"[Bb]earer\s+[A-Za-z0-9._-]{20,}"),
    "a password's hash": re.compile(r"\$argon2id\$"),
    "a link of a mail": re.compile(r"#(reset|invitation)=[A-Za-z0-9_-]{8,}"),
    "a private key": re.compile(r"BEGIN [A-Z ]*PRIVATE KEY"),
    "a password in an address": re.compile(r"\w+://[^:/@\s\"']+:(?!\[redacted\]|\*)[^@/\s\"']+@"),
    "a canary": re.compile(r"canary", re.IGNORECASE),
}


def leaks_in(text: str, secrets: Iterable[str] = ()) -> list[str]:
    """Name what a log holds that it must not; `secrets` are values that are known. The values are not repeated."""
    found = [kind for kind, pattern in PATTERNS.items() if pattern.search(text)]
    return [*found, *(f"a known secret ({secret[:3]}…)" for secret in secrets if secret in text)]


def leaks_of(folder: Path, secrets: Iterable[str] = ()) -> dict[str, list[str]]:
    """The leaks of every log in a folder, by the file's name."""
    known = list(secrets)
    found = {path.name: leaks_in(path.read_text(errors="replace"), known) for path in folder.glob("*.log")}
    return {name: leaks for name, leaks in found.items() if leaks}
