"""The `branchline` command: its commands and options. What each does is in a module of its own, imported when
used.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from core.lifecycle import EXIT_FAILURE, EXIT_OK, SUPERVISOR_VARIABLE, StartupError, fail

if TYPE_CHECKING:
    from core.settings import Settings

app = typer.Typer(
    name="branchline",
    help="A real-time sync gateway for a CRM used by many branches at once.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def up(
    api_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the API and the demo page (8000).")
    ] = None,
    gateway_port: Annotated[
        int | None, typer.Option(min=1, max=65534, help="Port of the gateways (8001).")
    ] = None,
    gateways: Annotated[int, typer.Option(min=1, max=64, help="How many gateways to run.")] = 1,
    home: Annotated[
        Path | None, typer.Option(help="Folder for data, logs and secrets (.branchline).", show_default=False)
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (127.0.0.1).", show_default=False)
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate (PEM): speak https and wss.", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="The certificate's key (PEM).", show_default=False)
    ] = None,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Make no demo data.")] = False,
) -> int:
    """Run everything on this machine; without DATABASE_URL and REDIS_URL with servers of its own."""
    from cli import up as command

    return command.run(
        api_port=api_port,
        gateway_port=gateway_port,
        gateways=gateways,
        home=home,
        host=host,
        tls_cert=None if tls_cert is None else str(tls_cert.resolve()),
        tls_key=None if tls_key is None else str(tls_key.resolve()),
        demo=not no_demo,
    )


@app.command()
def api() -> int:
    """Run the HTTP API, configured by the environment."""
    settings = _role_settings("database_url", "redis_url")
    from api.app import serve

    return serve(settings)


@app.command()
def gateway() -> int:
    """Run one WebSocket gateway, configured by the environment."""
    settings = _role_settings("database_url", "redis_url")
    from gateway.app import serve

    return serve(settings)


@app.command()
def relay() -> int:
    """Run one relay, configured by the environment."""
    settings = _role_settings("database_url", "redis_url", tokens=False)
    from gateway.relay.app import serve

    return serve(settings)


@app.command()
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be applied.")] = False,
) -> None:
    """Bring the database's schema to this version, under a lock."""
    from cli import migrate as command

    settings = _command_settings("owner_database_url")
    asyncio.run(command.run(settings, dry_run=dry_run, progress=_say))


@app.command()
def seed() -> None:
    """Add the demo organisation and its records; what is there already stays. Development only."""
    from cli import seed as command

    command.run(_command_settings("owner_database_url"), progress=_say)


@app.command()
def reset() -> None:
    """Remove every record and start from an empty schema; development only."""
    from cli import reset as command

    command.run(_command_settings(), progress=_say)


@app.command()
def token(email: Annotated[str, typer.Argument(help="A person, such as ana@demo.test.")]) -> None:
    """Print an access token for a person; development only."""
    from cli import token as command

    settings = _command_settings("owner_database_url", "token_key")
    print(asyncio.run(command.make_token(settings, email)))


@app.command()
def tail(
    topic: Annotated[str, typer.Argument(help="What to follow, such as leads?status=new.")] = "*",
    access_token: Annotated[
        str | None,
        typer.Option(
            "--token", envvar="BRANCHLINE_TOKEN", help="Whose view; in development ana@demo.test's."
        ),
    ] = None,
) -> int:
    """Show changes as they happen, one line each."""
    from cli import tail as command

    return command.run(_command_settings(), topic=topic, access_token=access_token)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def bench(context: typer.Context) -> int:
    """Measure: the benchmark suite; `branchline bench --help` lists it."""
    from cli import bench as command

    return command.run(context.args)


@app.command()
def rotate_keys() -> None:
    """Seal every sealed value with the newest of BRANCHLINE_FIELD_KEYS."""
    from cli import rotate_keys as command

    asyncio.run(command.rotate(_command_settings("owner_database_url", "field_keys"), progress=_say))


@app.command()
def doctor() -> int:
    """Check this program's surroundings, and say how to mend what is wrong."""
    from cli import doctor as command

    return command.run(_command_settings())


@app.command()
def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the page docs/settings.md.")] = False,
) -> None:
    """List every setting with its meaning and default."""
    from cli import settings_page as command

    sys.stdout.write(command.markdown() if markdown else command.listing())


def _role_settings(*required: str, tokens: bool = True) -> "Settings":
    from core.settings import load_settings, unknown_variables

    settings = load_settings()
    settings.require(*required)
    if tokens:
        _require_key(settings)
    if SUPERVISOR_VARIABLE not in os.environ:
        # Under `up` the supervisor has said so, once for all roles.
        for name in unknown_variables():
            _say(f"warning: {name} is set and means nothing; `branchline settings` lists what does.")
    return settings


def _require_key(settings: "Settings") -> None:
    if not settings.jwks_url:
        settings.require("signing_key" if settings.production else "token_key")


def _command_settings(*required: str) -> "Settings":
    from cli.home import settings_with_home

    settings = settings_with_home()
    if required and not settings.database_url and not settings.owner_database_url:
        raise StartupError(
            f"no `branchline up` runs in {settings.home} and DATABASE_URL is not set: start it in another terminal, or "
            "set DATABASE_URL and BRANCHLINE_OWNER_DATABASE_URL."
        )
    settings.require(*required)
    return settings


def _say(sentence: str) -> None:
    sys.stderr.write(f"branchline: {sentence}\n")
    sys.stderr.flush()


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 a problem found, 2 something outside is to be mended (one
    line).
    """
    sys.exit(_run())


def _run() -> int:
    try:
        answer = app(sys.argv[1:] or ["--help"], prog_name="branchline", standalone_mode=False)
    except StartupError as error:
        return fail(error)
    except typer.Abort:
        sys.stderr.write("\n")
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has left (`| head`): nothing more to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except typer.TyperException as error:
        problem = error.format_message().rstrip(".?")
        return fail(
            StartupError(
                f"{problem}: `branchline --help` and `branchline COMMAND --help` show what there is."
            )
        )
    return answer if isinstance(answer, int) else EXIT_OK


if __name__ == "__main__":
    main()
