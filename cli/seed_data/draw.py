"""Random draws for the demo data: skewed choices, ids that sort by time, names, addresses, numbers."""

import random
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from cli.seed_data import names

T = TypeVar("T")

#: The youngest demo record has an id of this moment: every record that somebody makes later sorts after it.
LAST_ID_AT = datetime(2026, 1, 1, tzinfo=UTC)
#: How far back the oldest one lies.
SPAN_DAYS = 540

# What NFKD does not take apart.
_PLAIN_LETTERS = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "Ae", "ß": "ss", "’": ""}
)


class Draw:
    """A seeded source of all randomness: the same seed gives the same draws on every machine."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self._random.randint(low, high)

    def one_of(self, values: Sequence[T]) -> T:
        """Each value as often as the others."""
        return values[int(self._random.random() * len(values))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """A key of `weights`, as often as its weight says."""
        return self._random.choices(list(weights), list(weights.values()))[0]

    def skewed(self, values: Sequence[T]) -> T:
        """One of `values`, the first ones far more often: a few customers bring most of the work."""
        return values[min(int(len(values) * self._random.random() ** 2.6), len(values) - 1)]

    def ages_days(self, count: int) -> list[float]:
        """`count` ages in days, the oldest first, recent ones more often."""
        draw = self._random
        ages = (min(draw.expovariate(1 / 130), SPAN_DAYS * draw.random()) for _ in range(count))
        return sorted(ages, reverse=True)

    def id_at(self, age_days: float) -> str:
        """A UUID of version 7 whose time is `age_days` before `LAST_ID_AT`, so that ids sort by age."""
        ms = int((LAST_ID_AT - timedelta(days=age_days)).timestamp() * 1000)
        bits = (ms << 80) | (7 << 76) | (self._random.getrandbits(12) << 64)
        return str(uuid.UUID(int=bits | (2 << 62) | self._random.getrandbits(62)))

    def amount(self, median: float) -> Decimal:
        """A sum of money, log-normal around `median`, rounded as people round."""
        value = median * self._random.lognormvariate(0, 0.9)
        step = 10 if value < 1_000 else 50 if value < 10_000 else 500
        return Decimal(max(step, round(value / step) * step)).quantize(Decimal("0.01"))

    def person(self) -> tuple[str, str]:
        """A first name and a last name."""
        return self.one_of(names.FIRST_NAMES), self.one_of(names.LAST_NAMES)

    def company(self) -> tuple[str, str]:
        """The name of a company and its trade."""
        industry = self.one_of(tuple(names.COMPANY_PATTERNS))
        pattern = self.one_of(names.COMPANY_PATTERNS[industry])
        name = pattern.format(
            last=self.one_of(names.LAST_NAMES),
            last2=self.one_of(names.LAST_NAMES),
            place=self.one_of(names.PLACES),
        )
        return name, industry

    def phone(self, pattern: str) -> str:
        """A telephone number: `pattern` with a digit for each #."""
        return "".join(str(self.between(0, 9)) if letter == "#" else letter for letter in pattern)

    def address(self) -> str:
        """A street and a number, low ones more often."""
        return f"{self.one_of(names.STREETS)} {min(int(self._random.expovariate(1 / 30)) + 1, 240)}"


def plain(text: str) -> str:
    """`text` in lower-case ASCII letters, digits and single hyphens: what a domain or a mailbox may hold."""
    folded = unicodedata.normalize("NFKD", text.translate(_PLAIN_LETTERS)).encode("ascii", "ignore").decode()
    words = "".join(letter if letter.isalnum() else " " for letter in folded.lower()).split()
    return "-".join(words)
