"""Whatever becomes of lines, answers, processes and clocks: all end with what the server has, and no write is missing.

The pure parts of the client against a model of the server. Each seed is one run; a seed that fails, fails again.
"""

import random
from collections.abc import Callable

import pytest

from branchline_client.queue import Stage
from tests.checker import (
    CheckError,
    check_acknowledged,
    check_applied,
    check_log,
    check_replica,
    check_session,
)
from tests.client_python.model import COLLECTION, ModelServer
from tests.client_python.simulation import SimulatedClient

STEPS = 400
HOUR_MS = 3_600_000
SHORT, LONG = 60, 1_500


class Run:
    """One simulation."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.server = ModelServer()
        skews = [0, HOUR_MS, -HOUR_MS, 365 * 24 * HOUR_MS]
        self.clients = [
            SimulatedClient(self.server, self.chance, f"c{n}", status, skew)
            for n, (status, skew) in enumerate(zip([None, None, "new", "won"], skews, strict=True))
        ]

    def steps(self) -> None:
        """Let chance reign."""
        for _ in range(STEPS):
            client = self.chance.choice(self.clients)
            self.server.now_ms += self.chance.choice([0, 1, 7, 50])
            actions: list[tuple[int, Callable[[], None]]] = [
                (8, client.type),
                (5, client.keep),
                (5, client.push),
                (5, lambda c=client: c.hear_answer(is_lost=self.chance.random() < 0.33)),  # type: ignore[misc]
                (4, client.connect),
                (2, client.disconnect),
                (8, client.serve),
                (8, lambda c=client: c.hear(self.chance.randint(1, 4))),  # type: ignore[misc]
                (3, client.read),
                (2, client.save_cache),
                (1, client.crash),
            ]
            self.chance.choices([each for _, each in actions], [weight for weight, _ in actions])[0]()

    def heal(self) -> None:
        """Let everything through until nothing is left."""
        for _ in range(400):
            for client in self.clients:
                client.keep()
                client.connect()
                client.push()
                client.hear_answer(is_lost=False)
                client.serve()
                client.hear(10)
                client.read()
            if all(client.is_done for client in self.clients):
                return
        raise CheckError(
            f"not done: {[(c.name, c.is_done, len(c.queue), c.view.position) for c in self.clients]}"
        )

    def check(self) -> None:
        """Everything that is promised."""
        server = self.server
        check_log(server.log)
        rows = {(COLLECTION, key): row.record for key, row in server.rows.items() if not row.is_dead}
        acknowledged = [each for client in self.clients for each in client.acknowledged.values()]
        check_acknowledged(acknowledged, server.log, rows)
        for client in self.clients:
            for trace in client.traces:
                check_applied(trace, server.log)
            for session in client.sessions:
                check_session(client.name, session)
            expected = server.records(client.server_view)
            check_replica(client.name, client.view.mirror.records, expected)
            check_replica(f"{client.name}'s screen", client.view.visible, expected)
            self.check_nothing_dropped(client)

    def check_nothing_dropped(self, client: SimulatedClient) -> None:
        """Each write that was kept is acknowledged or in the inbox (I9)."""
        known = client.acknowledged.keys() | set(client.refused)
        for mutation_id in client.disk.queue:
            assert mutation_id in known, f"{client.name}: {mutation_id} is neither answered nor in the inbox"


def simulate(seed: int) -> Run:
    run = Run(seed)
    run.steps()
    run.heal()
    run.check()
    return run


@pytest.mark.parametrize("part", range(6))
def test_all_replicas_end_equal_to_the_server(part: int) -> None:
    for seed in range(part, SHORT, 6):
        try:
            simulate(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.long
@pytest.mark.parametrize("part", range(15))
def test_all_replicas_end_equal_to_the_server_in_the_long_form(part: int) -> None:
    for seed in range(1_000 + part, 1_000 + LONG, 15):
        try:
            simulate(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_the_simulation_meets_what_it_is_for() -> None:
    """Runs without conflicts, refusals, crashes and gaps would prove nothing."""
    runs = [simulate(seed) for seed in range(20)]
    clients = [client for run in runs for client in run.clients]
    assert sum(client.conflicts for client in clients) > 20
    assert sum(len(client.refused) for client in clients) > 20
    assert sum(client.crashes for client in clients) > 20
    assert sum(len(client.lost) for client in clients) > 20
    assert sum(len(run.server.log) for run in runs) > 300


def test_a_seed_replays_identically() -> None:
    first, second = simulate(7), simulate(7)
    assert first.server.log == second.server.log
    assert [c.view.visible for c in first.clients] == [c.view.visible for c in second.clients]


def test_a_client_that_loses_a_write_would_be_found() -> None:
    run = Run(3)
    run.steps()
    client = next(c for c in run.clients if any(p.stage is Stage.QUEUED for p in c.queue))
    client.keep()
    dropped = next(p for p in client.queue if p.stage is Stage.QUEUED)
    client.queue.remove(dropped.mutation.mutation_id)
    run.heal()
    with pytest.raises(AssertionError, match="neither answered nor in the inbox"):
        run.check_nothing_dropped(client)
