"""A guest book with one node per site: each site accepts entries at any time, and all sites converge.

SITE_DIR=/var/lib/guestbook SITE_PORT=8000 SITE_SERVERS=10.0.0.2:8000 gunicorn --workers 4 app:app
"""

import html
import os
import time

from flask import Flask, Response, jsonify, request

import level_replicator as lrep

app = Flask(__name__)

# All four workers do this: one of them holds the database and replicates, the others use it through that worker, and
# when it ends another one takes over. (Do not use gunicorn's --preload: each worker must open the database itself.)
database = lrep.open(
    os.environ["SITE_DIR"],
    {
        "port": int(os.environ.get("SITE_PORT", "0")),
        "servers": {server: {} for server in os.environ.get("SITE_SERVERS", "").split()},
    },
    share=True,
)
entries = database.prefixed_db(b"entry:")


@app.post("/entries")
def add() -> tuple[Response, int]:
    text = request.get_json(force=True)["text"]
    # each entry has a unique key: two sites never write the same key, so there are no conflicts
    key = b"%015d:%s" % (time.time_ns() // 1_000, os.urandom(4).hex().encode())
    entries.put(key, text.encode())
    return jsonify(key=key.decode()), 201


@app.delete("/entries/<key>")
def remove(key: str) -> tuple[str, int]:
    entries.delete(key.encode())
    return "", 204


@app.get("/entries")
def show() -> Response:
    """Return all entries, newest first."""
    return jsonify([{"key": key.decode(), "text": text.decode()} for key, text in entries.iterator(reverse=True)])


@app.get("/")
def page() -> str:
    items = "".join(f"<li>{html.escape(text.decode())}" for _, text in entries.iterator(reverse=True))
    return f"<!doctype html><title>Guest book</title><h1>Guest book</h1><ul>{items}</ul>"


@app.get("/status")
def status() -> Response:
    return jsonify(database.status() | {"holder": database.holder, "pid": os.getpid()})
