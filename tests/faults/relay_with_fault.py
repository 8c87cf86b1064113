"""A relay that is struck at a chosen moment of its work: python -m tests.faults.relay_with_fault MOMENT SIGNAL COUNT

MOMENT is one of MOMENTS. At the COUNT-th time that the moment comes, the process sends itself SIGNAL (KILL or STOP).
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from core.settings import load_settings
from gateway.relay.app import serve
from gateway.relay.outbox import Outbox
from gateway.relay.publisher import Message, Publisher

MOMENTS = ("before_publish", "mid_batch", "after_publish", "after_positions")


def main(moment: str, name: str, count: int) -> int:
    """Run the relay with the fault in it."""
    assert moment in MOMENTS
    number = signal.Signals[f"SIG{name}"]
    publish, move_positions = Publisher.publish, Outbox.move_positions
    left = count

    def strike(now: str) -> None:
        nonlocal left
        if now == moment:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    async def publish_with_fault(publisher: Publisher, messages: Sequence[Message]) -> None:
        # Heartbeats alone are no batch.
        if not any(channel.startswith("branchline:{") for channel, _ in messages):
            return await publish(publisher, messages)
        strike("before_publish")
        half = len(messages) // 2
        await publish(publisher, messages[:half]) if half else None
        strike("mid_batch")
        await publish(publisher, messages[half:])
        return strike("after_publish")

    async def move_positions_with_fault(outbox: Outbox, *arguments: Any, **options: Any) -> bool:
        leads = await move_positions(outbox, *arguments, **options)
        strike("after_positions")
        return leads

    Publisher.publish = publish_with_fault  # type: ignore[method-assign, assignment]
    Outbox.move_positions = move_positions_with_fault  # type: ignore[method-assign, assignment]
    return serve(load_settings())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
