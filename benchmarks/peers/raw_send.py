"""The limit of one `send` a socket and message: epoll and nothing else. A POST goes to every socket as it came.

Arguments: the port. It keeps no promise but speed: whoever does not keep up is cut off.
"""

import base64
import hashlib
import selectors
import socket
import sys

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"


def _header(head: bytes, name: bytes) -> bytes:
    at = head.lower().find(b"\r\n" + name + b":")
    return b"" if at < 0 else head[at + len(name) + 3 : head.find(b"\r\n", at + 2)].strip()


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


class Server:
    """All sockets of one port."""

    def __init__(self, port: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._subscribers: set[socket.socket] = set()
        self._received: dict[socket.socket, bytes] = {}
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """For ever."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._read(key.fileobj)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
        elif connection not in self._subscribers:
            self._received[connection] += data
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head, end, body = self._received[connection].partition(b"\r\n\r\n")
        if not end:
            return
        key = _header(head, b"sec-websocket-key")
        if key:
            accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
            upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            connection.send(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            self._subscribers.add(connection)
            return
        if len(body) < int(_header(head, b"content-length")):
            return
        self._received[connection] = b""
        self._fan_out(_frame(body))
        connection.send(_CREATED)

    def _fan_out(self, frame: bytes) -> None:
        for subscriber in list(self._subscribers):
            try:
                sent = subscriber.send(frame)
            except OSError:
                sent = 0
            if sent < len(frame):
                self._drop(subscriber)

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        self._subscribers.discard(connection)
        self._received.pop(connection, None)
        connection.close()


if __name__ == "__main__":
    server = Server(int(sys.argv[1]))
    print("ready", flush=True)
    server.serve()
