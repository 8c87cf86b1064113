"""An organisation whose gadgets change at random, as somebody in psql would change them."""

import random
from dataclasses import dataclass, field

from core.catalogue import Catalogue, fetch_catalogue
from core.database import Pool, create_pool
from tests.properties.gadgets import BY_NAME, REMARKS, random_values
from tests.properties.runs import Bench
from tests.servers import Database
from tests.tenants import Tenant, create_tenant, new_id

ROWS = 40


@dataclass(slots=True)
class Gadgets:
    """An organisation whose gadgets change at random."""

    bench: Bench
    gateway: Pool
    tenant: Tenant
    catalogue: Catalogue
    dice: random.Random
    branches: list[str]
    alive: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    async def step(self) -> None:
        """One transaction of one to three statements; one in twenty is rolled back."""
        transaction = self.bench.owner.transaction()
        before = list(self.alive), list(self.dead)
        await transaction.start()
        for _ in range(self.dice.choice([1, 1, 1, 2, 3])):
            await self._statement()
        if self.dice.random() < 0.05:
            await transaction.rollback()
            self.alive, self.dead = before
        else:
            await transaction.commit()

    async def _statement(self) -> None:
        chance = self.dice.random()
        if len(self.alive) < ROWS / 2 or chance < 0.15:
            await self._insert()
        elif chance < 0.30 and len(self.alive) > ROWS / 2:
            await self._delete()
        elif chance < 0.32:
            await self._lose_a_branch()
        else:
            await self._update()

    async def _insert(self) -> None:
        if self.dead and self.dice.random() < 0.3:
            record = self.dead.pop(self.dice.randrange(len(self.dead)))
        else:
            record = new_id()
        values = random_values(self.dice, list(BY_NAME)) | {"branch_id": self._branch()}
        names = ", ".join(values)
        typed = ", ".join(f"${number}::text::{_type(name)}" for number, name in enumerate(values, 3))
        await self.bench.owner.execute(
            f"INSERT INTO gadgets (organization_id, id, {names}) VALUES ($1, $2, {typed})",
            self.tenant.id,
            record,
            *values.values(),
        )
        self.alive.append(record)

    async def _update(self) -> None:
        names = self.dice.sample(list(BY_NAME), self.dice.choice([1, 1, 2, 4]))
        values: dict[str, str | None] = random_values(self.dice, names)
        if self.dice.random() < 0.4:
            values["branch_id"] = self._branch()
        if self.dice.random() < 0.2:
            values = {"remark": self.dice.choice(REMARKS)}
        several = self.dice.sample(self.alive, min(len(self.alive), self.dice.choice([1, 1, 1, 2, 5])))
        assignments = ", ".join(
            f"{name} = ${number}::text::{_type(name)}" for number, name in enumerate(values, 3)
        )
        await self.bench.owner.execute(
            f"UPDATE gadgets SET {assignments} WHERE organization_id = $1 AND id = ANY ($2::uuid[])",
            self.tenant.id,
            several,
            *values.values(),
        )

    async def _delete(self) -> None:
        record = self.alive.pop(self.dice.randrange(len(self.alive)))
        self.dead.append(record)
        await self.bench.owner.execute(
            "DELETE FROM gadgets WHERE organization_id = $1 AND id = $2", self.tenant.id, record
        )

    async def _lose_a_branch(self) -> None:
        """A branch goes, and its records with it belong to none; then there is a branch of that id again."""
        branch = self.dice.choice(self.branches)
        await self.bench.owner.execute("DELETE FROM branches WHERE id = $1", branch)
        await self.bench.owner.execute(
            "INSERT INTO branches (organization_id, id, slug, name) VALUES ($1, $2, $3::text, $3::text)",
            self.tenant.id,
            branch,
            f"b-{branch}",
        )

    def _branch(self) -> str | None:
        return self.dice.choice([*self.branches, None])

    @classmethod
    async def create(cls, bench: Bench, database: Database, dice: random.Random) -> "Gadgets":
        """An organisation with three branches and a few dozen gadgets."""
        # Somebody writes from another part of the world; what is read must not depend on it.
        await bench.owner.execute("ALTER ROLE branchline_app SET TimeZone = 'America/St_Johns'")
        await bench.owner.execute("SET TimeZone = 'Asia/Kathmandu'")
        gateway = await create_pool(database.url, role="branchline_gateway", application_name="test gateway")
        tenant = await create_tenant(bench.owner, bench.slug())
        branches = [*tenant.branches.values(), new_id()]
        await bench.owner.execute(
            "INSERT INTO branches (organization_id, id, slug, name) VALUES ($1, $2, 'third', 'third')",
            tenant.id,
            branches[-1],
        )
        world = cls(bench, gateway, tenant, await fetch_catalogue(bench.owner), dice, branches)
        while len(world.alive) < ROWS:
            await world.step()
        return world


def _type(name: str) -> str:
    return {"branch_id": "uuid", "remark": "text"}.get(name) or BY_NAME[name].type
