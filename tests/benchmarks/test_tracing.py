"""How long a page's main thread worked, read from a Chromium trace."""

from typing import Any

from benchmarks.harness.tracing import work_ms

PAGE, SPARE = {"pid": 7, "tid": 1}, {"pid": 8, "tid": 1}


def task(thread: dict[str, int], at_us: int, for_us: int) -> dict[str, Any]:
    return {"name": "RunTask", "ts": at_us, "dur": for_us, "tdur": for_us // 2, **thread}


def test_the_work_until_a_mark_is_that_of_the_busiest_page() -> None:
    names = [
        {"name": "thread_name", "args": {"name": "CrRendererMain"}, "ts": 0, **each} for each in (PAGE, SPARE)
    ]
    compositor = {"name": "thread_name", "args": {"name": "Compositor"}, "ts": 0, "pid": 7, "tid": 2}
    events = [
        task(PAGE, 900, 5_000),  # before it was begun
        task(PAGE, 1_000, 2_000),
        task({"pid": 7, "tid": 2}, 8_500, 99_000),
        task(SPARE, 8_500, 700),
        task(PAGE, 9_000, 600),
        {"name": "drawn 1", "ts": 9_200, **PAGE},
        task(PAGE, 9_700, 90_000),  # after it was drawn
    ]
    assert work_ms([*names, compositor, *events], {"drawn 1": 1_000, "drawn 2": 9_100}) == [(2.6, 1.3)]


def test_without_a_page_there_is_no_figure() -> None:
    assert work_ms([], {"drawn 1": 1_000}) == []
