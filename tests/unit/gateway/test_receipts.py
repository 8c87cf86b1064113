"""Receipts: which of them count, and what for."""

import pytest

from gateway.receipts import LONGEST_WAY_MS, RECENT_CHANGES, RecentCommits, way_ms
from tests.unit.protocol.catalogue import change


def test_the_last_changes_are_remembered_and_older_ones_forgotten() -> None:
    commits = RecentCommits()
    assert commits.committed_at_ms(0) is None
    commits.note([change(offset) for offset in range(5, RECENT_CHANGES + 7)])
    assert commits.committed_at_ms(6) is None
    assert commits.committed_at_ms(7) == change().committed_at_ms
    assert commits.committed_at_ms(RECENT_CHANGES + 6) is not None
    assert commits.committed_at_ms(RECENT_CHANGES + 7) is None
    commits.note([change(1)])
    assert commits.committed_at_ms(RECENT_CHANGES) is None


@pytest.mark.parametrize(
    ("committed", "shown", "now", "way"),
    [
        (1_000, 1_050, 1_060, 50),
        (1_000, 990, 1_060, 0),
        (1_000, 1_900, 1_060, 60),
        (1_000, 0, 2_000, 0),
        (10_000, 1, 10_060, "clock"),
        (1_000, 5_000, 1_060, "clock"),
        (None, 1_050, 1_060, "unknown_offset"),
        (0, LONGEST_WAY_MS + 1, LONGEST_WAY_MS + 5, "too_long"),
        (0, 2**63 - 1, 1_000, "clock"),
    ],
)
def test_a_way_is_clamped_and_garbage_is_named(
    committed: int | None, shown: int, now: int, way: float | str
) -> None:
    assert way_ms(committed_at_ms=committed, shown_at_ms=shown, now_ms=now) == way
