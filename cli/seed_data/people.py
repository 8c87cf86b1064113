"""The organisations, branches and people that the demo data belongs to."""

from dataclasses import dataclass

#: Everybody's password. The accounts exist in development only.
PASSWORD = "demo"


@dataclass(frozen=True, slots=True)
class Branch:
    """A place of an organisation."""

    slug: str
    name: str
    city: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Person:
    """`branches` are the slugs of those they may write to, None for all; `reads` is "all" or "own"."""

    email: str
    name: str
    role: str
    title: str
    branches: tuple[str, ...] | None
    reads: str = "all"


@dataclass(frozen=True, slots=True)
class Organization:
    """An organisation with its branches and its people; the first person looks after what no agent does."""

    slug: str
    name: str
    branches: tuple[Branch, ...]
    people: tuple[Person, ...]


DEMO = Organization(
    slug="demo",
    name="Branchline Demo",
    branches=(
        Branch("north", "North", "Aarhus", "Europe/Copenhagen"),
        Branch("south", "South", "Málaga", "Europe/Madrid"),
        Branch("harbour", "Harbour", "Rotterdam", "Europe/Amsterdam"),
    ),
    people=(
        Person("ana@demo.test", "Ana Reyes", "manager", "Head of sales", None),
        Person("ben@demo.test", "Ben Lindqvist", "agent", "Sales, North", ("north",)),
        Person("carla@demo.test", "Carla Núñez", "agent", "Sales, South", ("south",)),
        Person("rita@demo.test", "Rita Coelho", "agent", "Trainee, South", ("south",), reads="own"),
        Person("vera@demo.test", "Vera Novák", "viewer", "Controller", None),
    ),
)

OTHER = Organization(
    slug="other",
    name="Other Company",
    branches=(Branch("main", "Main", "Lisbon", "Europe/Lisbon"),),
    people=(Person("olga@other.test", "Olga Farkas", "owner", "Founder", None),),
)
