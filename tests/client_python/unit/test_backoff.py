"""Waits have full jitter, within what the states need."""

import random

import pytest

from branchline_client.backoff import RetryPolicy

POLICY = RetryPolicy()


def test_a_wait_is_anywhere_between_nothing_and_its_ceiling() -> None:
    assert POLICY.delay_ms(1, 0.0) == 0
    assert POLICY.delay_ms(1, 0.999) == 999
    assert POLICY.delay_ms(4, 0.5) == 4_000
    assert POLICY.delay_ms(1_000_000, 0.5) == 15_000


def test_no_second_sees_more_than_a_seventh_of_those_who_lost_a_gateway() -> None:
    chance = random.Random(7)
    delays = [POLICY.lost_delay_ms(chance.random()) for _ in range(2_000)]
    fullest = max(sum(start <= each < start + 1_000 for each in delays) for start in range(0, 10_000, 50))
    assert fullest <= 2_000 * 0.15
    assert max(delays) <= 10_000


def test_a_dead_line_is_replaced_within_twenty_seconds() -> None:
    from branchline_client.connection import READY_SECONDS
    from branchline_client.line import SILENCE_SECONDS

    assert SILENCE_SECONDS == 12
    # The wait and the new line together: the ceiling of one leaves room for an ordinary start of the other.
    assert SILENCE_SECONDS + POLICY.silent_delay_ms(0.999) / 1000 < 17
    assert SILENCE_SECONDS + READY_SECONDS <= 20


def test_who_was_sent_away_does_not_come_back_sooner_than_was_said() -> None:
    assert POLICY.away_delay_ms(2_500, 0.0) == 2_500
    assert POLICY.away_delay_ms(2_500, 0.999) < 3_000
    assert POLICY.away_delay_ms(None, 0.0) == 30_000


def test_a_write_has_at_least_three_tries() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        RetryPolicy(refused_tries=2)
