"""Counts and rates up to a limit."""

from gateway.limits import Counts, Rates


def test_no_more_than_the_limit_are_counted() -> None:
    counts = Counts(2)
    assert [counts.add("a") for _ in range(3)] == [True, True, False]
    assert counts.add("b")
    counts.remove("a")
    assert counts.add("a")
    assert not counts.has_room("a")


def test_a_limit_of_none_is_none() -> None:
    counts, rates = Counts(0), Rates(0)
    assert all(counts.add("a") for _ in range(100))
    assert all(rates.take("a", 0.0) for _ in range(100))


def test_a_rate_allows_bursts_and_recovers() -> None:
    rates = Rates(20)
    assert [rates.take("a", 0.0) for _ in range(41)] == [True] * 40 + [False]
    assert rates.take("b", 0.0)
    assert [rates.take("a", 0.1) for _ in range(3)] == [True, True, False]
    rates.forget_full(0.2)
    assert not all(rates.take("a", 0.2) for _ in range(3))
    rates.forget_full(10.0)
    assert [rates.take("a", 10.0) for _ in range(41)] == [True] * 40 + [False]
