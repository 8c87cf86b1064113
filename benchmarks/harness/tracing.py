"""PURE: a Chromium trace, read for how long a page's main thread worked."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

CATEGORIES = ["-*", "devtools.timeline", "disabled-by-default-devtools.timeline"]
TASK = "RunTask"


def work_ms(events: Sequence[Mapping[str, Any]], starts_us: Sequence[float]) -> list[float]:
    """Milliseconds of work from each start to the next one, but for the last; starts are of the monotonic clock.

    Everything that the busiest page's main thread did counts, whatever it was for.
    """
    pages = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [event for event in events if event["name"] == TASK and (event["pid"], event["tid"]) in pages]
    busy: Counter[tuple[int, int]] = Counter()
    for task in tasks:
        busy[task["pid"], task["tid"]] += task.get("dur", 0)
    if not busy:
        return []
    ((busiest, _),) = busy.most_common(1)
    work = [0.0] * len(starts_us)
    for task in tasks:
        place = bisect_right(starts_us, task["ts"]) - 1
        if (task["pid"], task["tid"]) == busiest and place >= 0:
            work[place] += task.get("dur", 0) / 1000
    return work[:-1]
