"""FastAPI as its documentation has it: a list of sockets, `send_text` to each. On uvloop and httptools, uncompressed.

Arguments: the port.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    print("ready", flush=True)
    yield


app = FastAPI(lifespan=_lifespan)
_connections: list[WebSocket] = []


@app.websocket("/ws")
async def subscribe(websocket: WebSocket) -> None:
    """Keep the socket until it goes."""
    await websocket.accept()
    _connections.append(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        _connections.remove(websocket)


@app.post("/api/leads", status_code=201)
async def write(request: Request) -> Response:
    """Send the body to all."""
    text = (await request.body()).decode()
    for connection in list(_connections):
        await connection.send_text(text)
    return Response("{}", 201, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", backlog=4096,
        ws_per_message_deflate=False, access_log=False, log_level="warning",
    )  # fmt: skip
