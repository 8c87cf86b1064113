"""PURE: a Chromium trace, read for how long a page's main thread worked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

CATEGORIES = ["-*", "blink.user_timing", "devtools.timeline", "disabled-by-default-devtools.timeline"]


def work_ms(events: Sequence[Mapping[str, Any]], begun_us: Mapping[str, float]) -> list[tuple[float, float]]:
    """How long the busiest page's main thread worked from each moment, of the monotonic clock, to the mark of its name.

    Milliseconds by the clock and of CPU, of each that has a mark. All tasks count, whatever they were for.
    """
    pages = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks: dict[tuple[int, int], list[Mapping[str, Any]]] = {page: [] for page in pages}
    busy: Counter[tuple[int, int]] = Counter()
    for event in events:
        page = (event["pid"], event["tid"])
        if event["name"] == "RunTask" and page in pages:
            tasks[page].append(event)
            busy[page] += event.get("dur", 0)
    if not busy:
        return []
    ((busiest, _),) = busy.most_common(1)
    marks = {event["name"]: event["ts"] for event in events if event["name"] in begun_us}
    return [
        (_sum(tasks[busiest], "dur", begun, marks[name]), _sum(tasks[busiest], "tdur", begun, marks[name]))
        for name, begun in begun_us.items()
        if name in marks
    ]


def _sum(tasks: Sequence[Mapping[str, Any]], what: str, from_us: float, until_us: float) -> float:
    return sum(float(task.get(what, 0)) for task in tasks if from_us <= task["ts"] <= until_us) / 1000
