"""Callbacks of the program: called in turn; one that raises is logged and stops nobody else."""

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")

_log = logging.getLogger("branchline_client")


class Callbacks(Generic[P]):
    """A list of callbacks. Add one by calling; what is returned takes it away again."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[P, object]] = []

    def __call__(self, callback: Callable[P, object]) -> Callable[[], None]:
        """Add a callback."""
        self._callbacks.append(callback)

        def remove() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return remove

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def tell(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call them all."""
        for callback in list(self._callbacks):
            try:
                callback(*args, **kwargs)
            except Exception:  # noqa: BLE001 - the program's code, not ours: its error is told, and the client goes on
                _log.exception("a callback raised")
