"""The tables of clients/CONTRACT.md, as the code has them. Run as a program, it writes them into the document."""

import re
from collections.abc import Callable
from pathlib import Path

from branchline_client import codes, states
from branchline_client.backoff import RetryPolicy
from branchline_client.connection import READY_SECONDS
from branchline_client.line import SILENCE_SECONDS
from branchline_client.states import Action, Event, State

DOCUMENT = Path(__file__).parents[2] / "clients" / "CONTRACT.md"
_PART = r"<!-- {name} -->\n.*?<!-- end -->"


def transitions_table() -> str:
    """States × events: where each leads, and what is done; a dot where nothing changes."""
    lines = [_row(["", *(f"`{state.value}`" for state in State)]), _row(["---"] * (len(State) + 1))]
    for event in Event:
        cells = []
        for state in State:
            transition = states.step(state, event)
            if transition.state is state and not transition.actions:
                cells.append("·")
                continue
            actions = ", ".join(action.value for action in transition.actions)
            cells.append(f"**{transition.state.value}**" + (f" {actions}" if actions else ""))
        lines.append(_row([f"`{event.value}`", *cells]))
    return "\n".join(lines)


def meanings_table(kind: type[State] | type[Event] | type[Action]) -> str:
    """The members of an enumeration, with the words that stand below them in the code."""
    source = (Path(states.__file__)).read_text(encoding="utf-8")
    lines = [_row([kind.__name__.lower(), "meaning"]), _row(["---", "---"])]
    for member in kind:
        match = re.search(rf'    {member.name} = "{member.value}"\n    """(.*?)"""', source, re.DOTALL)
        assert match is not None, f"{member} has no words"
        lines.append(_row([f"`{member.value}`", " ".join(match.group(1).split())]))
    return "\n".join(lines)


def closes_table() -> str:
    """Close codes and handshake answers, with the event that each becomes."""
    events = {
        "reconnect": "lost",
        "reconnect_later": "sent_away",
        "reauthenticate": "refused",
        "stop": "ended",
    }
    lines = [_row(["what ended the socket", "reaction", "event"]), _row(["---", "---", "---"])]
    for code, reaction in codes.CLOSES.items():
        lines.append(_row([str(code), reaction, f"`{events[reaction]}`"]))
    lines.append(_row(["no close frame, 1005, 1006, other 4000 to 4499", "reconnect", "`lost`"]))
    lines.append(_row(["other 4500 to 4999", "stop", "`ended`"]))
    for status, reaction in codes.HANDSHAKES.items():
        event = "unreachable" if reaction == "reconnect" else events[reaction]
        lines.append(_row([f"HTTP {status} to the handshake", reaction, f"`{event}`"]))
    return "\n".join(lines)


def times_table() -> str:
    """Every wait of the client."""
    policy = RetryPolicy()
    rows = [
        ("first try after a live connection broke", f"0 to {policy.lost_ms} ms"),
        ("first try after silence", f"0 to {policy.silent_ms} ms"),
        (
            "try *n* of a series, of the socket and of pushing",
            f"0 to min({policy.cap_ms}, {policy.base_ms} · 2ⁿ) ms",
        ),
        (
            "after being sent away",
            f"what `goaway` named, else {policy.away_ms} ms; and 0 to a fifth more",
        ),
        ("silence after which a `ping` is sent", f"{SILENCE_SECONDS / 2:.0f} s"),
        ("silence after which a socket is dead", f"{SILENCE_SECONDS:.0f} s"),
        ("for a socket and its `ready`", f"{READY_SECONDS:.0f} s"),
        ("without a socket, while the API answers, until it polls", f"{policy.blocked_ms} ms"),
        (
            "until a client that polls tries a socket again, the *n*-th time",
            f"half to all of min({policy.blocked_cap_ms}, {policy.blocked_ms} · 2ⁿ) ms",
        ),
        ("tries of one write against the server's own errors, until the inbox", str(policy.refused_tries)),
    ]
    return "\n".join(
        [_row(["what", "how long, how often"]), _row(["---", "---"]), *map(_row, map(list, rows))]
    )


PARTS: dict[str, Callable[[], str]] = {
    "states": lambda: meanings_table(State),
    "events": lambda: meanings_table(Event),
    "actions": lambda: meanings_table(Action),
    "transitions": transitions_table,
    "closes": closes_table,
    "times": times_table,
}


def with_tables(document: str) -> str:
    """The document with every table as the code has it."""
    for name, table in PARTS.items():
        part = re.compile(_PART.format(name=name), re.DOTALL)
        assert part.search(document), f"CONTRACT.md has no table {name!r}"
        text = f"<!-- {name} -->\n{table()}\n<!-- end -->"
        document = part.sub(lambda _, text=text: text, document)  # type: ignore[misc]  # bound at once
    return document


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
