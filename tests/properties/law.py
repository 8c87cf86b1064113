"""The law of convergence, checked on a world that has come to rest."""

import random
from collections import Counter
from typing import Any

import orjson

from tests.properties.fold import Folded, fold
from tests.properties.twin import DEFAULTS
from tests.properties.world import World, rows_of

ORDERS = 3
"""In how many orders the accepted writes are folded."""


async def check(world: World, dice: random.Random) -> None:
    """Prove that everything agrees. Every queue must be empty, and every client must have read to the head."""
    log = await world.log()  # I1
    writes = [accepted.write for accepted in world.accepted]
    folded = fold(writes)
    for _ in range(ORDERS):
        dice.shuffle(writes)
        again = fold(writes)
        assert _content(again) == _content(folded), "the fold depends on the order"
    await _check_rows(world, folded)
    await _check_replicas(world)
    _check_once(world, log)
    _check_acknowledged(world, folded)
    await _check_overwritten(world, log)


def _content(records: dict[str, Folded]) -> dict[str, Any]:
    return {key: (each.lives, each.values, each.stamps, each.deleted) for key, each in records.items()}


async def _check_rows(world: World, folded: dict[str, Folded]) -> None:
    """PostgreSQL's rows are the fold, and so are its graves (I7)."""
    rows, graves = await rows_of(world.owner, world.tenant)
    assert rows.keys() == {key for key, each in folded.items() if each.lives}
    assert graves.keys() == {key for key, each in folded.items() if not each.lives}
    for key, (record, clocks, *grave) in [*rows.items(), *graves.items()]:
        each = folded[key]
        assert {name: record[name] for name in DEFAULTS} == each.values, key
        stamps = {name: clocks.get(name) or clocks["*"] for name in DEFAULTS}
        assert {name: (stamp[0], stamp[2]) for name, stamp in stamps.items()} == each.stamps, key
        if grave:
            assert grave == [each.deleted], key


async def _check_replicas(world: World) -> None:
    """What each client holds is what PostgreSQL encodes, byte for byte."""
    rows, _ = await rows_of(world.owner, world.tenant)
    for client in world.clients:
        assert not client.queue, f"{client.kind.name} still has {client.queue}"
        assert client.records == {key: record for key, (record, _) in rows.items()}, client.kind.name


def _check_once(world: World, log: list[Any]) -> None:
    """Each mutation is in the log once at most (I6), and nothing is that nobody asked for."""
    known = {accepted.mutation_id for accepted in world.accepted}
    times = Counter(change.mutation_id for change in log if change.mutation_id is not None)
    assert set(times.values()) <= {1}, times
    assert times.keys() <= known


def _check_acknowledged(world: World, folded: dict[str, Folded]) -> None:
    """Each acknowledged write is present, or beaten by a later one that can be named (I9)."""
    clocks = {accepted.write.clock for accepted in world.accepted}
    for accepted in world.accepted:
        write, each = accepted.write, folded[accepted.write.record]
        if write.operation == "delete":
            assert not each.lives or each.written > write.clock, accepted
            continue
        for name in write.fields:
            stamp = each.clocks[name][0]
            assert stamp == write.clock or (stamp > write.clock and stamp in clocks), (name, accepted)


async def _check_overwritten(world: World, log: list[Any]) -> None:
    """What somebody replaced unseen is in the change, and kept for its author until seen (I9)."""
    rows = await world.owner.fetch(
        "SELECT user_id::text, record_id::text, field, value::text, overwritten_by::text, version"
        " FROM overwritten_values WHERE organization_id = $1",
        world.tenant.id,
    )
    kept = [(*row[:3], orjson.loads(row[3]), *row[4:]) for row in map(tuple, rows)]
    expected = [each for each in world.overwritten if each[0] is not None]
    assert Counter(map(repr, kept)) == Counter(map(repr, expected))
    told = [
        (entry["by"], change.id, entry["field"], entry["value"], change.actor["user_id"], change.version)
        for change in log
        for entry in change.overwrote or ()
    ]
    assert Counter(map(repr, told)) == Counter(map(repr, world.overwritten))
