"""Which peers there are, and how each is started. `about` says what it does of the work, and what it leaves out."""

import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.dialects import LiveQuery, Plain, SocketIo
from benchmarks.peers.installed import HERE, nchan, nchan_folder, node, node_packages
from benchmarks.peers.peer import Peer
from benchmarks.peers.processes import HOST, run_program, run_servers
from cli.ports import pick_free

ROOT = HERE.parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """A peer that may be measured. `stores` where a write is committed to PostgreSQL, as with Branchline.

    `run` starts it; it raises AbsentError where it cannot be had, PeerError where it does not start.
    """

    key: str
    name: str
    about: str
    stores: bool
    run: Callable[[], AbstractContextManager[Peer]]


def _environment(**added: str) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "NODE_ENV": "production",
    } | added


@contextlib.contextmanager
def _python(name: str, module: str, *, apart: bool = False) -> Iterator[Peer]:
    ports = [pick_free(HOST)]
    if apart:
        ports.append(pick_free(HOST, taken=ports))
    command = [sys.executable, "-m", f"benchmarks.peers.{module}", *map(str, ports)]
    with run_program(command, ports=ports, environment=_environment()) as pid:
        yield _plain(name, ports[0], ports[-1], {"gateway": pid})


def _plain(name: str, write_port: int, socket_port: int, pids: dict[str, int]) -> Peer:
    return Peer(name, f"http://{HOST}:{write_port}", f"ws://{HOST}:{socket_port}/ws", Plain, pids)


@contextlib.contextmanager
def _node_ws() -> Iterator[Peer]:
    program, folder, port = node(), node_packages("node"), pick_free(HOST)
    environment = _environment(API_PORT=str(port))
    with run_program([program, "ws.js"], ports=[port], environment=environment, folder=folder) as pid:
        yield _plain("Node ws", port, port, {"gateway": pid})


@contextlib.contextmanager
def _nchan() -> Iterator[Peer]:
    program, module = nchan()
    port = pick_free(HOST)
    with nchan_folder(), tempfile.TemporaryDirectory(prefix="branchline-bench-nginx-") as name:
        folder = Path(name)
        user = "user root;\n" if os.geteuid() == 0 else ""
        configuration = HERE.joinpath("nginx.conf").read_text().replace("PORT", str(port))
        (folder / "nginx.conf").write_text(f"load_module {module};\n{user}{configuration}")
        command: list[str | Path] = [program, "-p", folder, "-c", "nginx.conf", "-e", "stderr"]
        with run_program(command, ports=[port], says_ready=False) as pid:
            yield _plain("nginx + Nchan", port, port, {"gateway": pid})


@contextlib.contextmanager
def _socket_io() -> Iterator[Peer]:
    program, folder = node(), node_packages("node")
    api_port = pick_free(HOST)
    gateway_port = pick_free(HOST, taken=[api_port])
    with run_servers() as servers:
        environment = _environment(
            DATABASE_URL=servers.database_url,
            REDIS_URL=servers.redis_url,
            API_PORT=str(api_port),
            GATEWAY_PORT=str(gateway_port),
        )
        with (
            run_program(
                [program, "socketio_api.js"], ports=[api_port], environment=environment, folder=folder
            ) as api,
            run_program(
                [program, "socketio_gateway.js"], ports=[gateway_port], environment=environment, folder=folder
            ) as gateway,
        ):
            yield Peer(
                "Socket.IO",
                f"http://{HOST}:{api_port}",
                f"ws://{HOST}:{gateway_port}/socket.io/?EIO=4&transport=websocket",
                SocketIo,
                {"api": api, "gateway": gateway, **servers.pids},
                ids=(servers.database_url, "SELECT id FROM leads"),
            )


@contextlib.contextmanager
def _parse() -> Iterator[Peer]:
    program, folder = node(), node_packages("parse")
    api_port = pick_free(HOST)
    gateway_port = pick_free(HOST, taken=[api_port])
    with run_servers() as servers:
        environment = _environment(
            DATABASE_URL=servers.database_url,
            REDIS_URL=servers.redis_url,
            API_PORT=str(api_port),
            GATEWAY_PORT=str(gateway_port),
            MASTER_KEY=secrets.token_hex(16),
            PARSE_SERVER_LOGS_FOLDER="null",  # else it writes them beside its programs
        )
        with (
            run_program([program, "api.js"], ports=[api_port], environment=environment, folder=folder) as api,
            run_program(
                [program, "live_query.js"], ports=[gateway_port], environment=environment, folder=folder
            ) as gateway,
        ):
            yield Peer(
                "Parse Server",
                f"http://{HOST}:{api_port}",
                f"ws://{HOST}:{gateway_port}/parse",
                LiveQuery,
                {"api": api, "gateway": gateway, **servers.pids},
                path="/parse/classes/Lead",
                headers=(("X-Parse-Application-Id", "bench"),),
                ids=(servers.database_url, 'SELECT "objectId" FROM "Lead"'),
                id_field="objectId",
            )


SOCKET_IO = Entry(
    "socketio",
    "Socket.IO",
    "express and pg write, a trigger notifies with the row, Socket.IO with the Redis adapter listens; nobody signs in, "
    "no conflicts, no catch-up",
    stores=True,
    run=_socket_io,
)
PARSE = Entry(
    "parse",
    "Parse Server",
    "Parse Server on PostgreSQL, LiveQuery in a process of its own through Redis; public class, nobody signs in",
    stores=True,
    run=_parse,
)
FAN_OUT = (
    Entry(
        "raw",
        "one send a socket",
        "epoll and one send a socket and message, in Python; stores nothing",
        stores=False,
        run=lambda: _python("one send a socket", "raw_send"),
    ),
    Entry(
        "broadcast",
        "websockets.broadcast",
        "the library's own broadcast on uvloop, no compression; stores nothing",
        stores=False,
        run=lambda: _python("websockets.broadcast", "broadcast", apart=True),
    ),
    Entry(
        "fastapi",
        "FastAPI send_text",
        "a loop over send_text as in its documentation, uvloop, no compression; stores nothing",
        stores=False,
        run=lambda: _python("FastAPI send_text", "fastapi_sockets"),
    ),
    Entry("ws", "Node ws", "send to each client, no compression; stores nothing", stores=False, run=_node_ws),
    Entry(
        "nchan",
        "nginx + Nchan",
        "a publisher and a subscriber location, a worker a core, messages in shared memory; stores nothing",
        stores=False,
        run=_nchan,
    ),
)
ALL = {entry.key: entry for entry in (SOCKET_IO, *FAN_OUT, PARSE)}
