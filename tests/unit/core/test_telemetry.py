"""Log lines: JSON, with a role, without secrets and without what is in records."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from core.telemetry import configure_logging, get_logger, redact, render_metrics

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers = handlers
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_line_is_one_json_object_with_role_level_and_time(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    configure_logging("relay")
    get_logger().info("published", offset=7)
    get_logger().debug("not shown")
    lines = capfdbinary.readouterr().err.splitlines()
    assert len(lines) == 1
    event = json.loads(lines[0])
    assert event.pop("at").endswith("Z")
    assert event == {"event": "published", "offset": 7, "role": "relay", "level": "info"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token", "anything"),
        ("password", "demo"),
        ("fields", {"name": "Acme"}),
        ("message", f"refused {TOKEN} of a client"),
        ("path", "/ws?ticket=abcdef"),
        ("nested", {"deep": [f"Bearer {TOKEN}"]}),
        ("error", "connect postgresql://ana:hunter2@db/x failed"),
        ("detail", "duplicate key\nDETAIL:  Key (email)=(ana@demo.test) already exists."),
    ],
)
def test_secrets_and_contents_do_not_get_through(key: str, value: object) -> None:
    text = repr(redact(None, "info", {key: value, "event": "e"}))
    assert "[redacted]" in text
    for secret in ("anything", "demo", "Acme", "eyJ", "abcdef", "hunter2", "ana@"):
        assert secret not in text


def test_an_exception_is_logged_without_local_variables(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    configure_logging("api")
    try:
        typed_by_somebody = "private words"
        raise ValueError(len(typed_by_somebody))
    except ValueError:
        get_logger().exception("failed")
    line = capfdbinary.readouterr().err
    assert b"ValueError" in line
    assert b"private words" not in line
    assert len(line.splitlines()) == 1


def test_what_a_library_says_is_one_line_without_what_it_quotes(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    configure_logging("gateway")
    configure_logging("gateway")
    try:
        raise OSError("private words")
    except OSError:
        logging.getLogger("asyncpg.pool").warning("no connection\nfor %s", "private words", exc_info=True)
    logging.getLogger("asyncpg.pool").info("not shown")
    [line] = capfdbinary.readouterr().err.splitlines()
    event = json.loads(line)
    assert event.pop("at")
    assert event == {
        "event": "library.message",
        "level": "warning",
        "role": "gateway",
        "library": "asyncpg.pool",
        "message": "no connection",
        "error": "OSError",
    }


def test_metrics_have_the_histogram_of_hops() -> None:
    assert b"# TYPE branchline_hop_seconds histogram" in render_metrics()
