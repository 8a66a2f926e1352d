"""A shared to-do list with coroutines, and a stream of its changes.

SITE_DIR=/var/lib/todo SITE_PORT=8000 SITE_SERVERS=10.0.0.2:8000 uvicorn app:app
"""

import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

import level_replicator as lrep

PREFIX = b"todo:"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    config = {
        "port": int(os.environ.get("SITE_PORT", "0")),
        "servers": {server: {} for server in os.environ.get("SITE_SERVERS", "").split()},
    }
    with lrep.open(os.environ["SITE_DIR"], config) as replica:
        async with lrep.aio.wrap(replica) as database:
            app.state.database = database
            yield


app = FastAPI(lifespan=lifespan)


def database_of(request: Request) -> lrep.aio.AsyncDatabase:
    database: lrep.aio.AsyncDatabase = request.app.state.database
    return database


@app.post("/todos", status_code=201)
async def add(request: Request, text: str) -> dict[str, str]:
    name = uuid.uuid4().hex
    await database_of(request).put(PREFIX + name.encode(), json.dumps({"text": text, "done": False}).encode())
    return {"name": name}


@app.put("/todos/{name}")
async def tick(request: Request, name: str, done: bool) -> dict[str, object]:
    database = database_of(request)
    found = await database.get(PREFIX + name.encode())
    if found is None:
        raise HTTPException(404)
    # if two sites change it at the same time, one of the two changes wins, on all sites the same
    todo: dict[str, object] = json.loads(found) | {"done": done}
    await database.put(PREFIX + name.encode(), json.dumps(todo).encode())
    return todo


@app.get("/todos")
async def show(request: Request) -> dict[str, dict[str, object]]:
    found = database_of(request).iterator(prefix=PREFIX)
    return {key.removeprefix(PREFIX).decode(): json.loads(value) async for key, value in found}


@app.get("/changes")
async def changes(request: Request, cursor: str | None = None) -> StreamingResponse:
    """Stream server-sent events. The id of each is the cursor to continue from, on any site."""
    feed = database_of(request).changes(cursor, prefix=PREFIX)

    async def events() -> AsyncIterator[str]:
        try:
            async for item in feed:
                if isinstance(item, lrep.Rescan):
                    what: dict[str, object] = {"rescan": item.complete}
                else:
                    value = None if item.value is None else json.loads(item.value)
                    what = {"name": item.key.removeprefix(PREFIX).decode(), "todo": value}
                yield f"id: {feed.cursor}\ndata: {json.dumps(what)}\n\n"
        finally:
            await feed.close()

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/status")
async def status(request: Request) -> dict[str, object]:
    return await database_of(request).status()
