"""What the commands of `branchline bench` share: where they are registered, their options, and the stack."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import typer

from cli.home import Home, settings_with_home
from core.lifecycle import StartupError

if TYPE_CHECKING:
    from benchmarks.harness.stack import Stack

app = typer.Typer(
    name="branchline bench",
    help="Measure the system; without a name, all of it. Each benchmark starts a stack of its own, checks every "
    "delivery, and keeps its result in benchmarks/results/.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The API of a running system, whose database and key are in the environment or in its home; "
        "otherwise one is started for the benchmark.",
    ),
]
Seconds = Annotated[float, typer.Option(min=1, help="How long to measure, after warming up.")]
Repeats = Annotated[int, typer.Option(min=1, help="How often; the median counts.")]
_ANSWER_SECONDS = 5.0


@contextmanager
def open_stack(url: str | None, *, gateways: int = 1) -> Iterator["Stack"]:
    """A stack of the benchmark's own, or the one at `url`."""
    from benchmarks.harness.stack import Stack, run_stack

    if url is None:
        with run_stack(gateways=gateways) as stack:
            yield stack
        return
    settings = settings_with_home()
    settings.require("owner_database_url", "token_key")
    home = Home(settings.home)
    _demand_api(url)
    yield Stack(
        api_url=url.rstrip("/"),
        gateway_url=settings.gateway_url or f"ws://{settings.host}:{settings.gateway_port}/ws",
        owner_database_url=settings.owner_database_url,
        signing_key=settings.token_key,
        home=home.path if home.environment() else None,
        up_pid=_up_pid(home.path),
    )


def _demand_api(url: str) -> None:
    """Raise StartupError if no API answers there."""
    try:
        httpx.get(f"{url.rstrip('/')}/healthz", timeout=_ANSWER_SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StartupError(f"expected the API of a running system at {url}: {said}") from None


def _up_pid(home: Path) -> int | None:
    """The `up` that holds a home."""
    try:
        return int(home.joinpath("lock").read_text())
    except (OSError, ValueError):
        return None
