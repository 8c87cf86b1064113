"""Draws the whole demo organisation: about 10,000 records, skewed as real ones are.

Ids, names and every choice come from one fixed seed. Only the dates are counted back from the day of seeding,
so that a task is due next week and not two years ago.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from cli.seed_data import names
from cli.seed_data.draw import Draw, plain

Row = dict[str, Any]

SEED = 20260101
COUNTS = {
    "clients": 1_800,
    "leads": 3_200,
    "contacts": 2_100,
    "deals": 1_300,
    "tasks": 1_100,
    "activity_events": 500,
}


_BRANCH_WEIGHTS = {"north": 50, "south": 34, "harbour": 15}
_NO_BRANCH_WEIGHT = 1  # records of the whole organisation
_LEAD_STATUS = {"new": 33, "contacted": 27, "qualified": 17, "won": 9, "lost": 14}
_LEAD_SOURCE = {"website": 34, "referral": 24, "phone": 16, "campaign": 13, "walk_in": 9, "import": 4}
_DEAL_STAGE = {"qualification": 28, "proposal": 24, "negotiation": 14, "won": 21, "lost": 13}
_DEAL_ODDS = {
    "qualification": (5, 30),
    "proposal": (25, 60),
    "negotiation": (50, 90),
    "won": (100, 100),
    "lost": (0, 0),
}
_TASK_STATUS = {"open": 44, "in_progress": 12, "done": 39, "cancelled": 5}
_TASK_PRIORITY = {"low": 14, "normal": 60, "high": 20, "urgent": 6}
_ACTIVITY_KIND = {"call": 34, "email": 31, "meeting": 14, "note": 18, "system": 3}
_CURRENCY = {"EUR": 96, "GBP": 3, "USD": 1}
_CURRENCY_NORTH = {"EUR": 68, "DKK": 21, "SEK": 6, "GBP": 5}


@dataclass(frozen=True, slots=True)
class Staff:
    """Who may own records: `agents` are the ids of a branch's agents by its slug, `manager` covers all."""

    organization_id: str
    branch_ids: dict[str, str]
    manager: str
    agents: dict[str, tuple[str, ...]]


@dataclass(slots=True)
class Generator:
    """Draws one organisation's records; each method returns the rows of one table, oldest first."""

    staff: Staff
    now: datetime
    draw: Draw = field(default_factory=lambda: Draw(SEED))
    counts: dict[str, int] = field(default_factory=lambda: dict(COUNTS))

    def tables(self) -> Iterator[tuple[str, list[Row]]]:
        """(table, rows), parents first."""
        clients = self.clients(self.counts["clients"])
        yield "clients", clients
        leads = self.leads(self.counts["leads"], clients)
        yield "leads", leads
        contacts = self.contacts(self.counts["contacts"], clients)
        yield "contacts", contacts
        deals = self.deals(self.counts["deals"], clients, contacts, leads)
        yield "deals", deals
        yield "tasks", self.tasks(self.counts["tasks"], deals)
        yield "activity_events", self.activity_events(self.counts["activity_events"], deals)

    def clients(self, count: int) -> list[Row]:
        """Companies, each in one of the trades."""
        rows = []
        for row, slug in self._rows(count):
            country, city, phone = self._region(slug)
            name, industry = self.draw.company()
            domain = f"{plain(name)}.example"
            rows.append(
                row
                | {
                    "name": name,
                    "industry": industry,
                    "website": f"https://{domain}" if self.draw.chance(0.7) else None,
                    "phone": self.draw.phone(phone) if self.draw.chance(0.9) else None,
                    "email": f"office@{domain}" if self.draw.chance(0.85) else None,
                    "address": self.draw.address(),
                    "city": city,
                    "country": country,
                    "status": self.draw.weighted({"active": 58, "prospect": 27, "inactive": 15}),
                    "owner_id": self._owner(slug),
                    "notes": self._note(names.LEAD_NOTES, 0.12),
                }
            )
        return rows

    def leads(self, count: int, clients: list[Row]) -> list[Row]:
        """People who may become clients; those who did name one."""
        rows = []
        for row, slug in self._rows(count):
            _, _, phone = self._region(slug)
            first, last = self.draw.person()
            company = self.draw.company()[0] if self.draw.chance(0.86) else None
            status = self.draw.weighted(_LEAD_STATUS)
            is_open = status in ("new", "contacted", "qualified")
            client: Row | None = self.draw.skewed(_before(row, clients)) if status == "won" else None
            company = client["name"] if client else company
            domain = f"{plain(company)}.example" if company else "post.example"
            rows.append(
                row
                | {
                    "name": f"{first} {last}",
                    "company": company,
                    "email": f"{plain(first)}.{plain(last)}@{domain}" if self.draw.chance(0.8) else None,
                    "phone": self.draw.phone(phone) if self.draw.chance(0.75) else None,
                    "source": self.draw.weighted(_LEAD_SOURCE),
                    "status": status,
                    "score": self.draw.between(10, 60) + (30 if status in ("qualified", "won") else 0),
                    "estimated_value": self.draw.amount(6_500) if self.draw.chance(0.88) else None,
                    "currency": self._currency(slug),
                    "owner_id": self._owner(slug) if status != "new" or self.draw.chance(0.4) else None,
                    "client_id": client["id"] if client else None,
                    "next_step_at": self._soon() if is_open and self.draw.chance(0.6) else None,
                    "notes": self._note(names.LEAD_NOTES, 0.22),
                }
            )
        return rows

    def contacts(self, count: int, clients: list[Row]) -> list[Row]:
        """People at clients; the first of each is the one to call."""
        rows = []
        with_primary: set[str] = set()
        for row, _ in self._rows(count):
            client = self.draw.skewed(_before(row, clients))
            slug = self._slug(client["branch_id"])
            _, _, phone = self._region(slug)
            first, last = self.draw.person()
            rows.append(
                row
                | {
                    "branch_id": client["branch_id"],
                    "client_id": client["id"],
                    "first_name": first,
                    "last_name": last,
                    "email": f"{plain(first)}.{plain(last)}@{plain(client['name'])}.example",
                    "phone": self.draw.phone(phone) if self.draw.chance(0.8) else None,
                    "title": self.draw.skewed(names.TITLES),
                    "is_primary": client["id"] not in with_primary,
                    "birthday": self._birthday() if self.draw.chance(0.15) else None,
                    "notes": self._note(names.LEAD_NOTES, 0.05),
                }
            )
            with_primary.add(client["id"])
        return rows

    def deals(self, count: int, clients: list[Row], contacts: list[Row], leads: list[Row]) -> list[Row]:
        """What is for sale to whom; old clients have most of them."""
        people: dict[str, list[Row]] = {}
        for contact in contacts:
            people.setdefault(contact["client_id"], []).append(contact)
        leads_of = {lead["client_id"]: lead for lead in leads if lead["client_id"]}
        rows = []
        for row, _ in self._rows(count):
            client = self.draw.skewed(_before(row, clients))
            stage = self.draw.weighted(_DEAL_STAGE)
            closed = stage in ("won", "lost")
            lead = leads_of.get(client["id"]) if self.draw.chance(0.5) else None
            person = self.draw.one_of(people[client["id"]]) if client["id"] in people else None
            rows.append(
                row
                | {
                    "branch_id": client["branch_id"],
                    "name": f"{self.draw.skewed(names.PRODUCTS)}, {client['name']}",
                    "client_id": client["id"],
                    "contact_id": person["id"] if person else None,
                    "lead_id": lead["id"] if lead else None,
                    "stage": stage,
                    "amount": self.draw.amount(11_000),
                    "currency": self._currency(self._slug(client["branch_id"])),
                    "probability": self.draw.between(*_DEAL_ODDS[stage]),
                    "expected_close_on": self._day(-60 if closed else -5, 0 if closed else 120),
                    "closed_at": self._moment_after(row["created_at"]) if closed else None,
                    "owner_id": client["owner_id"],
                    "notes": self._note(names.DEAL_NOTES, 0.18),
                }
            )
        return rows

    def tasks(self, count: int, deals: list[Row]) -> list[Row]:
        """Things to do about deals."""
        rows = []
        for row, _ in self._rows(count):
            deal = self.draw.one_of(_before(row, deals))
            status = self.draw.weighted(_TASK_STATUS)
            title, description = self.draw.one_of(names.TASKS)
            done = status == "done"
            rows.append(
                row
                | {
                    "branch_id": deal["branch_id"],
                    "title": self._fill(title, deal),
                    "description": description,
                    "status": status,
                    "priority": self.draw.weighted(_TASK_PRIORITY),
                    "due_on": self._day(-90, 0) if done else self._day(-6, 45),
                    "completed_at": self._moment_after(row["created_at"]) if done else None,
                    "assignee_id": deal["owner_id"],
                    "client_id": deal["client_id"],
                    "deal_id": deal["id"] if self.draw.chance(0.7) else None,
                    "lead_id": None,
                    "notes": self._note(names.DEAL_NOTES, 0.06),
                }
            )
        return rows

    def activity_events(self, count: int, deals: list[Row]) -> list[Row]:
        """What happened about deals, recent ones more often."""
        rows = []
        for row, _ in self._rows(count):
            deal = self.draw.skewed(_before(row, deals)[::-1])
            kind = self.draw.weighted(_ACTIVITY_KIND)
            rows.append(
                row
                | {
                    "branch_id": deal["branch_id"],
                    "kind": kind,
                    "subject": self._fill(self.draw.one_of(names.ACTIVITIES[kind]), deal),
                    "body": self._note(names.LEAD_NOTES, 0.3),
                    "occurred_at": row["created_at"],
                    "client_id": deal["client_id"],
                    "contact_id": deal["contact_id"],
                    "deal_id": deal["id"],
                    "lead_id": deal["lead_id"],
                    "user_id": deal["owner_id"] if kind != "system" else None,
                    "notes": None,
                }
            )
        return rows

    def _rows(self, count: int) -> Iterator[tuple[Row, str | None]]:
        """What every record has, with the slug of its branch; ages come first, so that ids sort by them."""
        weights: dict[str | None, float] = {None: _NO_BRANCH_WEIGHT}
        weights |= {slug: _BRANCH_WEIGHTS.get(slug, 100) for slug in self.staff.branch_ids}
        for age_days in self.draw.ages_days(count):
            slug = self.draw.weighted(weights)
            yield (
                {
                    "organization_id": self.staff.organization_id,
                    "id": self.draw.id_at(age_days),
                    "branch_id": self.staff.branch_ids[slug] if slug else None,
                    "created_at": self.now - timedelta(days=age_days),
                    "updated_by": self.staff.manager,
                },
                slug,
            )

    def _slug(self, branch_id: str | None) -> str | None:
        return next((slug for slug, id_ in self.staff.branch_ids.items() if id_ == branch_id), None)

    def _region(self, slug: str | None) -> tuple[str, str, str]:
        return self.draw.skewed(names.REGIONS.get(slug or "", names.REGIONS["south"]))

    def _owner(self, slug: str | None) -> str:
        agents = self.staff.agents.get(slug or "", ())
        return self.draw.skewed(agents) if agents and self.draw.chance(0.85) else self.staff.manager

    def _currency(self, slug: str | None) -> str:
        return self.draw.weighted(_CURRENCY_NORTH if slug == "north" else _CURRENCY)

    def _note(self, notes: tuple[str, ...], probability: float) -> str | None:
        return self.draw.skewed(notes) if self.draw.chance(probability) else None

    def _fill(self, pattern: str, deal: Row) -> str:
        product, _, company = deal["name"].partition(", ")
        return pattern.format(who=" ".join(self.draw.person()), product=product.lower(), company=company)

    def _day(self, first: int, last: int) -> date:
        return self.now.date() + timedelta(days=self.draw.between(first, last))

    def _birthday(self) -> date:
        return date(self.draw.between(1956, 2001), self.draw.between(1, 12), self.draw.between(1, 28))

    def _soon(self) -> datetime:
        """A time in office hours within the next three weeks."""
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + timedelta(days=self.draw.between(0, 21), minutes=15 * self.draw.between(32, 68))

    def _moment_after(self, created_at: datetime) -> datetime:
        return created_at + (self.now - created_at) * (self.draw.between(20, 95) / 100)


def _before(row: Row, older: list[Row]) -> list[Row]:
    """Those of `older` (sorted by age) that existed when `row` was made, or the very first one."""
    return older[: max(1, bisect_left(older, row["created_at"], key=lambda other: other["created_at"]))]
