"""The `websockets` library's own `broadcast`, on uvloop, uncompressed. Arguments: the ports of writes and sockets."""

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

_CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
_connections: set[ServerConnection] = set()


async def _subscriber(connection: ServerConnection) -> None:
    _connections.add(connection)
    try:
        await connection.wait_closed()
    finally:
        _connections.discard(connection)


async def _writer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r")[0])
            body = await reader.readexactly(length)
            broadcast(_connections, body.decode())
            writer.write(_CREATED)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _serve(write_port: int, socket_port: int) -> None:
    await asyncio.start_server(_writer, "127.0.0.1", write_port)
    async with serve(_subscriber, "127.0.0.1", socket_port, compression=None, backlog=4096):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
