"""Named SQL statements, read from `.sql` files beside the code that runs them."""

import re
from importlib.resources import files
from types import SimpleNamespace

_NAME = re.compile(r"^-- name: ([a-z_]+)\n(-- .+\n)+", re.MULTILINE)


def load(package: str, file_name: str = "queries.sql") -> SimpleNamespace:
    """Read a package's statements: an object with one text attribute a statement.

    A statement begins with `-- name: fetch_something` and a line or more that says what it is for, and ends where the
    next begins. Raises ValueError for a file without statements, or with two of one name.
    """
    text = files(package).joinpath(file_name).read_text(encoding="utf-8")
    marks = list(_NAME.finditer(text))
    statements: dict[str, str] = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = mark.group(1)
        if name in statements:
            raise ValueError(f"{package}/{file_name} has two statements of the name {name}")
        end = following.start() if following else len(text)
        statements[name] = text[mark.end() : end].strip().rstrip(";")
    if not statements:
        raise ValueError(f"{package}/{file_name} has no statement; each begins with '-- name: …' and '-- …'")
    return SimpleNamespace(**statements)
