"""PURE. One page of HTML about results, with nothing to fetch: verdicts, plots, figures, and what they came from."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.harness import plots
from benchmarks.harness.branchline import NAME
from benchmarks.harness.latencies import Histogram
from benchmarks.harness.results import TARGETS, Result, target_of, verdict_word

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0 } h2 { margin-top: 2.2rem } .quiet, .grid + text { color: var(--quiet) }
table { border-collapse: collapse; width: 100%; font-size: 13.5px } td, th { border-bottom: 1px solid var(--line);
  padding: .25rem .5rem; text-align: left; vertical-align: top } td:nth-child(2) { min-width: 6em }
  td.number { text-align: right; white-space: nowrap }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif } svg text { fill: currentColor }
.grid { stroke: var(--line) } .met { color: #2c8a3d } .missed { color: #d03a2b } .not { color: var(--quiet) }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: 13.5px }
.key { margin-right: 1rem; font-size: 13px; white-space: nowrap } .key i { display: inline-block; width: .8em;
  height: .8em; margin-right: .35em; border-radius: 2px } code { font-size: 13px } details { margin: .5rem 0 }
"""
_PLACES = [50.0 * step / 25 for step in range(25)] + [
    100 - 50 * 10 ** (-step / 12) for step in range(41)
]  # ever closer to 100


def render(results: Sequence[Result], earlier: Sequence[Result] = ()) -> str:
    """The page of these results; compared with earlier ones of the same benchmarks where there are any."""
    sections = {
        "Verdicts": _verdicts(results),
        "Compared with the earlier run": _comparison(results, earlier) if earlier else "",
        "Throughput against latency": _throughput(results),
        "CPU a delivery": _cpu(results),
        "From the commit to each hop": _hops(results),
        "Memory of an idle connection": _memory(results),
        "How latencies are spread": _spread(results),
        "All figures": _figures(results),
        "What to know about them": _notes(results),
        "Machine, durability and commands": _origin(results),
    }
    shown = {title: content for title, content in sections.items() if content}
    parts = [
        _head(results),
        _contents(shown),
        *(_section(title, content) for title, content in shown.items()),
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Branchline: benchmarks</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _head(results: Sequence[Result]) -> str:
    machine = results[0].content["machine"] if results else {}
    about = f"{machine.get('at', '')} · source {machine.get('commit', '')} · {len(results)} benchmarks"
    words = Counter(verdict_word(verdict) for result in results for verdict in result.verdicts)
    counts = f"{words['met']} met · {words['MISSED']} missed · {words['not measurable']} not measurable on this machine"
    if words["INVALID"]:
        counts += f" · {words['INVALID']} of invalid runs"
    return f'<h1>Branchline: benchmarks</h1><p class="quiet">{escape(about)}<br/>{counts}</p>'


def _contents(titles: Iterable[str]) -> str:
    links = "".join(f'<li><a href="#{_anchor(title)}">{escape(title)}</a></li>' for title in titles)
    return f"<nav><ul>{links}</ul></nav>"


def _section(title: str, content: str) -> str:
    return f'<section><h2 id="{_anchor(title)}">{escape(title)}</h2>{content}</section>'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-").replace(",", "")


_MARKS = {"met": "met", "MISSED": "missed", "INVALID": "missed", "not measurable": "not"}


def _verdicts(results: Sequence[Result]) -> str:
    rows: list[str] = []
    by_target: dict[str | None, list[tuple[str, Mapping[str, Any]]]] = {}
    for result in results:
        for each in result.verdicts:
            by_target.setdefault(target_of(each), []).append((result.name, each))
    for target in (*TARGETS, None):
        found = by_target.get(target, [])
        if not found and target is not None:
            rows.append(_row(escape(target), '<span class="not">not measured in this run</span>', "", ""))
        for name, verdict in found:
            word = verdict_word(verdict)
            rows.append(
                _row(
                    escape(verdict["target"]),
                    f'<span class="{_MARKS[word]}">{word.lower()}</span>',
                    escape(verdict["figures"]),
                    escape(name),
                )
            )
    return _table(("target", "verdict", "figures", "benchmark"), rows)


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _live_runs(results: Sequence[Result]) -> dict[str, Mapping[str, Any]]:
    """Runs with subscribers, valid ones only, by a label that is theirs alone."""
    return {
        _label(result, label): run
        for result in results
        for label, run in result.runs.items()
        if "cpu_us_per_delivery" in run and not run["invalid"]
    }


def _label(result: Result, label: str) -> str:
    return label if result.name == "peers" else f"{result.name}: {label}"


def _spread(results: Sequence[Result]) -> str:
    """A plot for each benchmark, and for each work that several systems were given."""
    words = {
        "delivery": "from a write's due time to its arrival",
        "write": "writes",
        "push": "pushes",
        "answer": "answers",
    }
    groups: dict[str, dict[str, Histogram]] = {}
    for result in results:
        for tag, histogram in result.histograms.items():
            label, _, kind = tag.rpartition("/")
            if kind not in words or not histogram.count or result.runs.get(label, {}).get("invalid"):
                continue
            who, _, work = label.partition(", ") if result.name == "peers" else (label, "", "")
            title = f"{result.name}{work and ', ' + work}: {words[kind]}"
            groups.setdefault(title, {})[who] = histogram
    charts = []
    for title, histograms in groups.items():
        curves = {name: _curve(histogram) for name, histogram in histograms.items()}
        y = plots.logarithmic("ms", [value for curve in curves.values() for _, value in curve])
        charts.append(f"<h3>{escape(title)}</h3>" + plots.lines(curves, plots.percentiles(), y))
    return "".join(charts)


def _curve(histogram: Histogram) -> list[tuple[float, float]]:
    places = [place for place in _PLACES if plots.percentile_place(place) <= histogram.count * 1.01]
    values = histogram.percentiles_ms(places)
    return [(plots.percentile_place(place), max(values[place], 0.01)) for place in places]


def _throughput(results: Sequence[Result]) -> str:
    marks: dict[str, list[tuple[float, float, str]]] = {}
    for run in _live_runs(results).values():
        work = run["work"]
        rate = work["writes_per_second"]
        label = f"{work['subscribers']:,} × {f'{rate:g}' if rate else 'flat out'}"
        point = (run["deliveries_per_second"], run["delivery_ms"]["p99"], label)
        marks.setdefault(run["subject"], []).append(point)
    every = [mark for group in marks.values() for mark in group]
    if not every:
        return ""
    x = plots.logarithmic("deliveries a second", [mark[0] for mark in every])
    y = plots.logarithmic("p99, ms", [mark[1] for mark in every])
    return plots.points(marks, x, y)


def _cpu(results: Sequence[Result]) -> str:
    rows = {}
    for label, run in _live_runs(results).items():
        deliveries = run["deliveries"] or 1
        rows[label] = {
            name: seconds * 1e6 / deliveries
            for name, seconds in run["cpu_seconds"].items()
            if seconds and not name.startswith("load:")
        }
    return plots.bars(rows, "µs") if rows else ""


def _hops(results: Sequence[Result]) -> str:
    rows = {}
    for label, run in _live_runs(results).items():
        before = 0.0
        parts: dict[str, float] = {}
        for hop, mean in sorted(run["hops_ms"].items(), key=lambda pair: pair[1]):
            parts[hop], before = mean - before, mean
        if parts:
            rows[label] = parts
    return plots.bars(rows, "ms") if rows else ""


def _memory(results: Sequence[Result]) -> str:
    # A gateway that has served other runs has memory left of them, so what these add to it says nothing; each peer is
    # started anew. What lies in memory that processes share, as Nchan's, cannot be had.
    rows = {
        label: {"gateway": run["gateway_bytes_per_socket"] / 1024}
        for result in results
        for label, run in _live_runs([result]).items()
        if run["work"]["subscribers"] >= 1_000
        and run["gateway_bytes_per_socket"] > 0
        and (result.name == "idle_memory" or run["subject"] != NAME)
    }
    return plots.bars(rows, "KB") if rows else ""


_FIGURES = {
    "deliveries_per_second": "deliveries/s",
    "writes_per_second": "writes/s",
    "mutations_per_second": "mutations/s",
    "cpu_us_per_delivery": "CPU a delivery, µs",
    "cpu_us_per_mutation": "CPU a mutation, µs",
    "cpu_us_per_write": "CPU a write, µs",
    "bytes_per_delivery": "bytes a delivery",
    "gateway_bytes_per_socket": "gateway, bytes a socket",
}
_LATENCIES = ("delivery_ms", "write_ms", "push_ms", "answer_ms")


def _numbers_of(run: Mapping[str, Any]) -> dict[str, float]:
    """What can be compared: percentiles and figures by name."""
    numbers: dict[str, float] = {}
    for name in _LATENCIES:
        if run.get(name, {}).get("count"):
            for point in ("p50", "p99"):
                numbers[f"{name.removesuffix('_ms')} {point}, ms"] = run[name][point]
    return (
        numbers
        | {words: run[name] for name, words in _FIGURES.items() if name in run}
        | {name.replace("_", " "): value for name, value in run.get("figures", {}).items()}
    )


def _figures(results: Sequence[Result]) -> str:
    parts = []
    for result in results:
        rows = []
        for label, run in result.runs.items():
            if run.get("invalid"):
                rows.append(_row(escape(label), '<span class="missed">invalid: no figure</span>'))
                continue
            numbers = _numbers_of(run)
            shown = " · ".join(f"{escape(name)} <b>{_format(value)}</b>" for name, value in numbers.items())
            if shown:
                rows.append(_row(escape(label), shown))
        if rows:
            parts.append(f"<h3>{escape(result.name)}</h3>" + _table(("run", "figures"), rows))
    return "".join(parts)


def _format(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _comparison(results: Sequence[Result], earlier: Sequence[Result]) -> str:
    before = {(result.name, label): run for result in earlier for label, run in result.runs.items()}
    rows = []
    for result in results:
        for label, run in result.runs.items():
            old = before.get((result.name, label))
            if old is None or run.get("invalid") or old.get("invalid"):
                continue
            was = _numbers_of(old)
            for name, value in _numbers_of(run).items():
                if was.get(name):
                    cells = [f'<td class="number">{_format(each)}</td>' for each in (was[name], value)]
                    ratio = f'<td class="number">{value / was[name]:.2f}</td>'
                    names = f"<td>{escape(_label(result, label))}</td><td>{escape(name)}</td>"
                    rows.append(f"<tr>{names}{''.join(cells)}{ratio}</tr>")
    commits = [each[0].content["machine"]["commit"] if each else "" for each in (earlier, results)]
    about = f'<p class="quiet">{escape(commits[0])} before, {escape(commits[1])} now; the ratio is now to before.</p>'
    return about + _table(("run", "figure", "before", "now", "ratio"), rows)


def _notes(results: Sequence[Result]) -> str:
    items = []
    for result in results:
        items += [
            f"{result.name}: absent: {name}: {why}" for name, why in result.content.get("absent", {}).items()
        ]
        items += [f"{result.name}: INVALID: {fault}" for fault in result.content["invalid"]]
        for label, run in result.runs.items():
            known = result.content["invalid"]
            faults = [fault for fault in run["invalid"] if not {fault, f"{label}: {fault}"} & {*known}]
            items += [f"{_label(result, label)}: INVALID: {fault}" for fault in faults]
            items += [f"{_label(result, label)}: {caveat}" for caveat in run.get("caveats", ())]
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{listed}</ul>" if items else ""


def _origin(results: Sequence[Result]) -> str:
    rows = []
    if results:
        rows = [
            _row(escape(name), escape(str(value))) for name, value in results[0].content["machine"].items()
        ]
    durability: Mapping[str, str] = next(
        (result.content["durability"] for result in results if result.content["durability"]), {}
    )
    rows += [_row(escape(f"PostgreSQL {name}"), escape(str(value))) for name, value in durability.items()]
    commands = "".join(
        f"<li><code>{escape(result.content['command'])}</code> <span class=quiet>({escape(result.name)}, "
        f"{escape(str(result.content['machine']['at']))})</span></li>"
        for result in results
    )
    return _table(("", ""), rows) + f"<h3>Commands</h3><ul>{commands}</ul>"
