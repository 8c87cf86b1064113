"""`branchline up`: everything on this machine, from one command, until it is told to stop.

Order: take the home, end what a killed run has left, check the ports; PostgreSQL and Valkey; schema and demo
data; the roles; and, when each says that it is ready, the line `ready …` on standard output. Everything else
goes to stderr.
"""

import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from cli import embedded_postgres, embedded_valkey, servers
from cli.connections import check_redis, connect
from cli.home import Home, Secrets
from cli.migrate import OWNER_SOURCE, OWNER_VARIABLE, application_password, has_demo, migrate
from cli.placement import Placement, choose_user, place
from cli.ports import pick_free, require_free
from cli.processes import end_processes
from cli.roles import list_roles, start_role, wait_ready
from cli.supervisor import Supervisor
from core.lifecycle import EXIT_OK, StartupError, fail, install_signal_handlers, startup_error_in
from core.settings import Settings, load_settings, unknown_variables
from core.tls import server_context

LEFT_STEPS = ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True, slots=True)
class Plan:
    """What was decided before anything was started. `settings` are those of the embedded servers and the
    roles.
    """

    home: Home
    host: str
    gateways: int
    demo: bool
    settings: Settings
    secrets: Secrets
    had_secrets: bool
    placement: Placement | None
    ports: dict[str, int]


def run(
    *,
    api_port: int | None,
    gateway_port: int | None,
    gateways: int,
    home: Path | None,
    host: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    demo: bool,
) -> int:
    """Run until SIGINT or SIGTERM; the exit status. An option that is None comes from the settings."""
    given = {"api_port": api_port, "gateway_port": gateway_port, "home": home, "host": host}
    given |= {"tls_cert": tls_cert, "tls_key": tls_key}
    try:
        settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        for name in unknown_variables():
            say(f"warning: {name} is set and means nothing; `branchline settings` lists what does.")
        if server_context(settings.tls_cert, settings.tls_key) is None and not _is_loopback(settings.host):
            say(
                f"warning: {settings.host} is reached from other machines, and without --tls-cert and --tls-key "
                "passwords and data go over the network as they are, unless a proxy before it speaks TLS."
            )
        folder = Home(settings.home)
        user = choose_user() if _embeds(settings) else None
        folder.prepare(group=None if user is None else user.gid)
        with folder.locked():
            _end_left(folder)
            plan = _plan(settings, folder, gateways=gateways, demo=demo)
            return asyncio.run(_up(plan))
    except StartupError as error:
        return fail(error)


def say(sentence: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"branchline: {sentence}\n")
    sys.stderr.flush()


def _embeds(settings: Settings) -> bool:
    return not (settings.database_url and settings.redis_url)


def _end_left(home: Home) -> None:
    left = {name: process for name, process in home.processes().items() if process.alive}
    # PostgreSQL is ended with its own signals, by its own lock file.
    others = {name: process for name, process in left.items() if name != "postgresql"}
    if others:
        say(f"ending what an earlier run has left: {', '.join(others)}.")
        if not end_processes(others.values(), LEFT_STEPS):
            raise StartupError(
                f"some processes of an earlier run do not end: {others}. End them with `kill -9`."
            )


def _plan(settings: Settings, home: Home, *, gateways: int, demo: bool) -> Plan:
    _check_ports(settings, gateways)
    had_secrets = home.has_secrets()
    secrets = home.secrets()
    placement = place(home, choose_user()) if _embeds(settings) else None
    ports = servers.choose_ports(home, postgresql=not settings.database_url, valkey=not settings.redis_url)
    taken = [
        settings.api_port,
        *range(settings.gateway_port, settings.gateway_port + gateways + 1),
        *ports.values(),
    ]
    chosen: dict[str, object] = {
        "relay_port": pick_free(settings.host, preferred=settings.relay_port, taken=taken),
        "secret": settings.secret or ("" if settings.production else secrets.secret),
    }
    if not settings.database_url:
        port = ports["postgresql"]
        chosen["database_url"] = embedded_postgres.database_url(port, "branchline_app", secrets.app_password)
        chosen["owner_database_url"] = embedded_postgres.database_url(
            port, embedded_postgres.OWNER, secrets.owner_password
        )
        chosen["listen_database_url"] = chosen["replica_database_url"] = chosen["database_url"]
    if not settings.redis_url:
        chosen["redis_url"] = embedded_valkey.redis_url(ports["valkey"], secrets.redis_password)
    if demo and settings.production:
        say("no demo data, because BRANCHLINE_ENV is production.")
        demo = False
    return Plan(
        home=home,
        host=settings.host,
        gateways=gateways,
        demo=demo,
        settings=settings.model_copy(update=chosen),
        secrets=secrets,
        had_secrets=had_secrets,
        placement=placement,
        ports=ports,
    )


def _check_ports(settings: Settings, gateways: int) -> None:
    last = settings.gateway_port + gateways
    if last > 65535:
        raise StartupError(
            f"{gateways} gateways from port {settings.gateway_port} need ports up to {last}: choose lower."
        )
    if settings.gateway_port <= settings.api_port <= last:
        raise StartupError(
            f"the API's port {settings.api_port} is one of the gateways' ({settings.gateway_port} to "
            f"{last}): choose another with --api-port or --gateway-port."
        )
    require_free(settings.host, settings.api_port, use="the API", option="--api-port")
    for port in range(settings.gateway_port, last + 1):
        require_free(settings.host, port, use="the gateways", option="--gateway-port")


async def _up(plan: Plan) -> int:
    stopping = asyncio.Event()
    install_signal_handlers(stopping)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stopping.set)
    supervisor = Supervisor(say, plan.home.keep_processes)
    stop = asyncio.create_task(stopping.wait(), name="stop")
    work = asyncio.create_task(_work(plan, supervisor), name="up")
    try:
        await asyncio.wait([stop, work], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        else:
            say("stopping …")
    except BaseExceptionGroup as group:
        raise startup_error_in(group) from None
    finally:
        stop.cancel()
        work.cancel()
        await asyncio.gather(stop, work, return_exceptions=True)
        plan.home.forget_environment()
        await _stop(supervisor)
    return EXIT_OK


async def _stop(supervisor: Supervisor) -> None:
    # The roles first, while what they lean on is there, so that requests in hand are answered.
    behind = ("postgresql", "valkey")
    await supervisor.stop([child for child in supervisor.children if child.spec.name not in behind])
    await supervisor.stop([child for child in supervisor.children if child.spec.name in behind])
    await supervisor.wait_ended()


async def _work(plan: Plan, supervisor: Supervisor) -> None:
    settings = plan.settings
    await _start_servers(plan, supervisor)
    if await migrate(
        settings.owner_database_url, progress=say, application_password=application_password(settings)
    ):
        say("the schema is up to date.")
    if plan.demo and not await has_demo(settings.owner_database_url):
        # Imported here: on a second start nobody needs it.
        from cli.seed import seed

        await seed(settings.owner_database_url, progress=say)
    await _start_roles(plan, supervisor)
    plan.home.keep_environment(_environment(settings, owner=True))
    print(ready_line(settings), flush=True)
    await supervisor.wait_defect()


async def _start_servers(plan: Plan, supervisor: Supervisor) -> None:
    settings, placement = plan.settings, plan.placement
    if placement is not None:
        for note in placement.notes:
            say(note)
    async with asyncio.TaskGroup() as group:
        if "valkey" in plan.ports and placement is not None:
            port, password = plan.ports["valkey"], plan.secrets.redis_password
            valkey = servers.start_valkey(supervisor, plan.home, placement, port, password)
            group.create_task(servers.wait_valkey(valkey, port, password))
        else:
            group.create_task(check_redis(settings.redis_url))
        if "postgresql" in plan.ports and placement is not None:
            group.create_task(_start_postgresql(plan, placement, supervisor))
        else:
            group.create_task(_check_database(settings))


async def _start_postgresql(plan: Plan, placement: Placement, supervisor: Supervisor) -> None:
    await asyncio.to_thread(
        servers.prepare_postgresql, plan.home, placement, plan.secrets, plan.had_secrets, say
    )
    port = plan.ports["postgresql"]
    child = servers.start_postgresql(supervisor, plan.home, placement, port)
    await servers.wait_postgresql(child, port, plan.secrets.owner_password, say)


async def _check_database(settings: Settings) -> None:
    owner = await connect(settings.owner_database_url, variable=OWNER_SOURCE)
    await owner.close()


async def _start_roles(plan: Plan, supervisor: Supervisor) -> None:
    settings = plan.settings
    roles = list_roles(
        api_port=settings.api_port,
        gateway_port=settings.gateway_port,
        gateways=plan.gateways,
        relay_port=settings.relay_port,
        alone="postgresql" in plan.ports,
        tls=bool(settings.tls_cert),
    )
    pairs = []
    for role in roles:
        # The relay keeps the log's partitions as the owner; the demo page shows the owner's URL for psql.
        owner = role.command == "relay" or (role.command == "api" and not settings.production)
        variables = _environment(settings, owner=owner)
        pairs.append((role, start_role(supervisor, plan.home, role, variables)))
    await wait_ready(_reachable(plan.host), pairs, say)


def _environment(settings: Settings, *, owner: bool) -> dict[str, str]:
    variables = {
        "DATABASE_URL": settings.database_url,
        OWNER_VARIABLE: settings.owner_database_url if owner else settings.database_url,
        "BRANCHLINE_LISTEN_DATABASE_URL": settings.listen_database_url,
        "BRANCHLINE_REPLICA_DATABASE_URL": settings.replica_database_url,
        "REDIS_URL": settings.redis_url,
        "BRANCHLINE_ENV": settings.env,
        "BRANCHLINE_SECRET": settings.secret,
        "BRANCHLINE_HOME": str(Home(settings.home).path),
        "BRANCHLINE_HOST": settings.host,
        "BRANCHLINE_API_PORT": str(settings.api_port),
        "BRANCHLINE_GATEWAY_PORT": str(settings.gateway_port),
        "BRANCHLINE_TLS_CERT": settings.tls_cert,
        "BRANCHLINE_TLS_KEY": settings.tls_key,
        "BRANCHLINE_RELAY_PORT": str(settings.relay_port),
    }
    return {name: value for name, value in variables.items() if value}


def ready_line(settings: Settings) -> str:
    """What is printed when everything runs: where. With passwords in development only, where programs take them up."""
    host = _reachable(settings.host)
    host = f"[{host}]" if ":" in host else host
    s = "s" if settings.tls_cert else ""
    line = (
        f"ready api=http{s}://{host}:{settings.api_port} gateway=ws{s}://{host}:{settings.gateway_port}/ws "
        f"database={settings.owner_database_url} redis={settings.redis_url}"
    )
    if not settings.production:
        return line
    # Imported here: it brings the library of metrics, which `up` has no use for.
    from core.telemetry import blank

    return str(blank(line))


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _reachable(host: str) -> str:
    """An address at which a server that listens on `host` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
