"""A guest book, with one master per site: each site takes entries at any time, and all show the same in the end.

SITE_DIR=/var/lib/guestbook SITE_PORT=8000 SITE_SERVERS=10.0.0.2:8000 gunicorn --workers 4 app:app
"""

import html
import os
import time

from flask import Flask, Response, jsonify, request

import level_replicator as lrep

app = Flask(__name__)

# Four workers may do this at once: one of them holds the database and replicates, the others use it through that one,
# and when it ends another takes over. (Not with gunicorn's --preload: each worker opens it for itself.)
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
    # a key of its own for each entry: two sites never write the same one, so there are no conflicts
    key = b"%015d:%s" % (time.time_ns() // 1_000, os.urandom(4).hex().encode())
    entries.put(key, text.encode())
    return jsonify(key=key.decode()), 201


@app.delete("/entries/<key>")
def remove(key: str) -> tuple[str, int]:
    entries.delete(key.encode())
    return "", 204


@app.get("/entries")
def show() -> Response:
    """The newest first."""
    return jsonify([{"key": key.decode(), "text": text.decode()} for key, text in entries.iterator(reverse=True)])


@app.get("/")
def page() -> str:
    items = "".join(f"<li>{html.escape(text.decode())}" for _, text in entries.iterator(reverse=True))
    return f"<!doctype html><title>Guest book</title><h1>Guest book</h1><ul>{items}</ul>"


@app.get("/status")
def status() -> Response:
    return jsonify(database.status() | {"holder": database.holder, "pid": os.getpid()})
