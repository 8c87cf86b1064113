"""PURE. Where a client stands in an organisation's log."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """Everything up to `offset` of life `epoch` of the log has been seen, in the view `view`."""

    epoch: str
    offset: int
    view: str

    def at(self, offset: int) -> "Position":
        """Give the same view's position at another offset."""
        return Position(self.epoch, offset, self.view)
