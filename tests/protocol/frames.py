"""Reads the golden frames of the folder `frames/`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "frames"
Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Frame:
    """One message: its file's name, when it is sent, and what it holds."""

    name: str
    about: str
    message: dict[str, Any]

    def __str__(self) -> str:
        return self.name

    @property
    def text(self) -> str:
        """The message as JSON."""
        return json.dumps(self.message)


def frames(direction: Direction) -> list[Frame]:
    """All frames of one direction."""
    return [_read(path) for path in sorted((FOLDER / direction).glob("*.json"))]


def frame(direction: Direction, name: str) -> Frame:
    """One frame."""
    return _read(FOLDER / direction / f"{name}.json")


def _read(path: Path) -> Frame:
    data = json.loads(path.read_text(encoding="utf-8"))
    return Frame(path.stem, data["about"], data["message"])
