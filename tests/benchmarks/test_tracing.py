"""What a page's main thread worked, read from a Chromium trace."""

from typing import Any

from benchmarks.harness.tracing import work_ms

PAGE, SPARE = {"pid": 7, "tid": 1}, {"pid": 8, "tid": 1}


def task(thread: dict[str, int], at_us: int, for_us: int) -> dict[str, Any]:
    return {"name": "RunTask", "ts": at_us, "dur": for_us, **thread}


def test_the_work_of_each_span_is_that_of_the_busiest_page_and_the_last_span_has_no_end() -> None:
    names = [
        {"name": "thread_name", "args": {"name": "CrRendererMain"}, "ts": 0, **each} for each in (PAGE, SPARE)
    ]
    compositor = {"name": "thread_name", "args": {"name": "Compositor"}, "ts": 0, "pid": 7, "tid": 2}
    tasks = [
        task(PAGE, 900, 5_000),  # before the first
        task(PAGE, 1_000, 2_000),
        task(PAGE, 9_000, 500),
        task({"pid": 7, "tid": 2}, 9_500, 99_000),
        task(SPARE, 9_500, 700),
        task(PAGE, 20_000, 1_000),
        task(PAGE, 30_000, 90_000),
    ]
    assert work_ms([*names, compositor, *tasks], [1_000, 15_000, 29_000]) == [2.5, 1.0]


def test_without_a_page_there_is_no_figure() -> None:
    assert work_ms([], [1_000, 2_000]) == []
