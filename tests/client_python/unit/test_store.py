"""What is kept: it is on the disk when it is said to be, in one piece, for one process and one person."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from branchline_client.cache import Cache, TopicChanges
from branchline_client.clock import ClientClock
from branchline_client.database import Database
from branchline_client.errors import PrincipalChangedError, StoreError, StoreInUseError
from branchline_client.mutation import InboxEntry, Loss, Mutation
from branchline_client.position import Position
from branchline_client.queue import Answer, Pending, Queue
from branchline_client.store import Changes, Store

CLIENT_ID = "00000000-0000-4000-8000-00000000000a"


def client_id() -> str:
    return CLIENT_ID


def pending(number: int, **fields: object) -> Pending:
    queue = Queue()
    mutation = Mutation(
        f"m{number}", "leads", f"r{number}", "update", fields, 3, "merge", clock="", made_at_ms=7
    )
    return queue.add(mutation, sequence=number)


async def test_everything_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    store, kept = await Store.open(tmp_path, client_id)
    assert (kept.clock.client_id, kept.queue, kept.principal) == (CLIENT_ID, [], None)
    clock, _ = ClientClock(CLIENT_ID, offset_ms=250).tick(1_000)
    answered = pending(2, name="Émile", tags=["a"], nothing=None)
    answered.answer = Answer(4, "e", 12)
    answered.written = Mutation("m2", "leads", "r2", "update", {"name": "Émile"})
    entry = InboxEntry(answered.mutation, "invalid", "no", 5, ("m1",), {"id": "r2", "version": 4})
    loss = Loss("m2:name", "lost", "leads", "r2", "name", "mine", None, None, 9)
    await store.keep(Changes(put=[pending(1), answered], put_inbox=[entry], put_losses=[loss], clock=clock))
    await store.bind("ana", "demo")
    await store.close()

    store, kept = await Store.open(tmp_path, client_id)
    assert [each.mutation.mutation_id for each in kept.queue] == ["m1", "m2"]
    assert (kept.queue[1].mutation, kept.queue[1].written, kept.queue[1].answer) == (
        answered.mutation,
        answered.written,
        answered.answer,
    )
    assert (list(kept.inbox), list(kept.losses), kept.clock, kept.principal) == (
        [entry],
        [loss],
        clock,
        ("ana", "demo"),
    )
    await store.keep(Changes(delete=["m1", "m2"], delete_inbox=[entry.id], delete_losses=[loss.id]))
    await store.close()
    store, kept = await Store.open(tmp_path, client_id)
    assert (kept.queue, kept.inbox, kept.losses) == ([], [], [])
    await store.close()


async def test_a_kept_write_is_on_the_disk(tmp_path: Path) -> None:
    store, _ = await Store.open(tmp_path, client_id)
    pragma = await store._database.run(
        lambda c: (
            c.execute("PRAGMA synchronous").fetchone()[0],
            c.execute("PRAGMA journal_mode").fetchone()[0],
        )
    )
    assert pragma == (2, "wal")
    await store.close()
    assert oct((tmp_path / "queue.sqlite3").stat().st_mode & 0o777) == "0o600"


async def test_a_store_belongs_to_one_person_and_one_process(tmp_path: Path) -> None:
    store, _ = await Store.open(tmp_path, client_id)
    with pytest.raises(StoreInUseError):
        await Store.open(tmp_path, client_id)
    await store.bind("ana", "demo")
    await store.bind("ana", "demo")
    with pytest.raises(PrincipalChangedError):
        await store.bind("ben", "demo")
    await store.close()


def insert(number: int) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (?)", (number,))

    return work


async def test_what_comes_together_shares_a_commit() -> None:
    database = await Database.open(None, ["CREATE TABLE t (n)"], 1, "FULL")
    commits: list[str] = []
    await database.run(lambda c: c.set_trace_callback(commits.append))
    await asyncio.gather(*(database.run(insert(n)) for n in range(100)))
    assert commits.count("COMMIT") <= 4
    numbers = await database.run(lambda c: [n for (n,) in c.execute("SELECT n FROM t ORDER BY rowid")])
    assert numbers == list(range(100))
    await database.close()


async def test_one_that_cannot_be_kept_fails_nobody_else() -> None:
    database = await Database.open(None, ["CREATE TABLE t (n INTEGER CHECK (n < 100))"], 1, "FULL")
    works = [database.run(insert(n)) for n in (1, 1_000, 2)]
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), StoreError, type(None)]
    assert await database.run(lambda c: c.execute("SELECT sum(n) FROM t").fetchone()[0]) == 3
    await database.close()


async def test_another_version_of_the_queue_is_refused_and_of_the_cache_thrown_away(tmp_path: Path) -> None:
    for name in ("queue.sqlite3", "cache.sqlite3"):
        with sqlite3.connect(tmp_path / name) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    with pytest.raises(StoreError, match="expected version 1"):
        await Store.open(tmp_path, client_id)
    cache = await Cache.open(tmp_path, 0)
    assert await cache.fetch_positions() == {}
    await cache.close()


async def test_what_is_no_database_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite3").write_bytes(b"not a database, but long enough to be taken for one" * 20)
    with pytest.raises(StoreError, match="cannot be opened"):
        await Store.open(tmp_path, client_id)
    with pytest.raises(StoreError, match="cannot be used"):
        await Store.open(tmp_path / "queue.sqlite3", client_id)


def at(offset: int) -> Position:
    return Position("e", offset, "v")


async def test_a_topics_copy_is_written_with_its_position_and_forgotten_whole(tmp_path: Path) -> None:
    cache = await Cache.open(tmp_path, 0)
    whole = TopicChanges("leads", at(5), True, {"a": {"id": "a"}, "b": {"id": "b"}})
    await cache.write({"leads": whole}, 1_000)
    await cache.write({"leads": TopicChanges("leads", at(7), False, {"a": None, "c": {"id": "c"}})}, 2_000)
    await cache.close()
    cache = await Cache.open(tmp_path, 0)
    found = await cache.fetch("leads")
    assert found is not None
    assert (found.position, found.records) == (at(7), [{"id": "b"}, {"id": "c"}])
    assert await cache.fetch_positions() == {"leads": ("leads", "e", 7)}
    await cache.delete(["leads"])
    assert await cache.fetch("leads") is None
    await cache.close()


async def test_a_topic_that_nobody_opened_for_long_is_deleted(tmp_path: Path) -> None:
    day = 86_400_000
    cache = await Cache.open(tmp_path, 0)
    await cache.write({"old": TopicChanges("leads", at(1), True)}, 0)
    await cache.write({"new": TopicChanges("leads", at(1), True)}, 5 * day)
    await cache.close()
    cache = await Cache.open(tmp_path, 31 * day)
    assert list(await cache.fetch_positions()) == ["new"]
    await cache.close()
