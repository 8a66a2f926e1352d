// A PouchDB for the measurements: node pouchdb.js PEERS PATH. It obeys calls on stdin as worker.py does. `serve` answers as much of CouchDB's HTTP as a pulling PouchDB asks for.
'use strict';
const http = require('http');
const path = require('path');
const readline = require('readline');

const PouchDB = require(path.join(path.resolve(process.argv[2]), 'node_modules', 'pouchdb'));
const db = new PouchDB(process.argv[3]);
const BATCH = 1000;
const VALUE_BYTES = 100;
const PER_S = 100;
const seconds = () => Number(process.hrtime.bigint()) / 1e9; // the clock that all processes share
const keyOf = (number) => BigInt.asUintN(64, BigInt(number) * 0x9e3779b97f4a7c15n).toString(16).padStart(16, '0');
const revisions = new Map(); // of what was written here, which an overwrite must name
const sockets = new Set();
let wire = 0;

let seed = 1;
function value() {
  let text = '';
  while (text.length < VALUE_BYTES) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    text += seed.toString(36);
  }
  return text.slice(0, VALUE_BYTES);
}

function document(id) {
  const made = { _id: id, value: value() };
  if (revisions.has(id)) made._rev = revisions.get(id);
  return made;
}

async function writeOnce(ids) {
  // of two writes of a document in one call the second one would be a conflict
  const answers = await db.bulkDocs([...new Set(ids)].map(document));
  for (const answer of answers) {
    if (answer.error) throw new Error(JSON.stringify(answer));
    revisions.set(answer.id, answer.rev);
  }
}

// -- HTTP

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return parts.length ? JSON.parse(Buffer.concat(parts).toString()) : {};
}

async function changes(query) {
  const options = { since: Number(query.get('since') || 0), style: 'all_docs' };
  if (query.has('limit')) options.limit = Number(query.get('limit'));
  const found = await db.changes(options);
  if (found.results.length || query.get('feed') !== 'longpoll') return found;
  await new Promise((resolve) => {
    const feed = db.changes({ since: options.since, live: true });
    const timer = setTimeout(() => feed.cancel(), 20000);
    feed.once('change', () => feed.cancel());
    feed.once('complete', () => { clearTimeout(timer); resolve(); });
    feed.once('error', resolve);
  });
  return db.changes(options);
}

async function answer(request) {
  const url = new URL(request.url, 'http://localhost');
  const rest = decodeURIComponent(url.pathname.replace(/^\/db\/?/, ''));
  if (rest === '' || url.pathname === '/') return db.info();
  if (rest === '_changes') return changes(url.searchParams);
  if (rest === '_bulk_get') return db.bulkGet({ ...(await body(request)), revs: true, latest: true });
  if (rest === '_all_docs') return db.allDocs({ ...(await body(request)), include_docs: true });
  if (rest.startsWith('_local/')) {
    return request.method === 'PUT' ? db.put(await body(request)) : db.get(rest);
  }
  return db.get(rest);
}

function serve() {
  const server = http.createServer((request, response) => {
    answer(request).then(
      (found) => [200, found],
      (error) => [error.status || 500, { error: error.name, reason: String(error.message) }],
    ).then(([status, found]) => {
      response.writeHead(status, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify(found));
    });
  });
  server.on('connection', (socket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.on('close', () => { sockets.delete(socket); wire += socket.bytesRead + socket.bytesWritten; });
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
}

// -- calls

const source = (port) => `http://127.0.0.1:${port}/db`;
let waiting;

const calls = {
  serve,
  wireBytes: () => [...sockets].reduce((sum, socket) => sum + socket.bytesRead + socket.bytesWritten, wire),
  async write({ count, batch, first, over }) {
    const ids = Array.from({ length: count }, (_, number) => keyOf(first + (over ? number % over : number)));
    const began = seconds();
    for (let start = 0; start < count; start += batch) await writeOnce(ids.slice(start, start + batch));
    return seconds() - began;
  },
  async pull({ port }) {
    const began = seconds();
    await db.replicate.from(source(port), { batch_size: BATCH });
    return seconds() - began;
  },
  keepPulling({ port }) {
    return new Promise((resolve) => {
      db.replicate.from(source(port), { batch_size: BATCH, live: true }).once('paused', () => resolve(true));
    });
  },
  async listen({ count }) {
    const seen = [];
    waiting = new Promise((resolve) => {
      db.changes({ since: 'now', live: true }).on('change', () => {
        seen.push(seconds());
        if (seen.length === count) resolve(seen);
      });
    });
    await db.info();
    return true;
  },
  heard: () => waiting,
  async writeSlowly({ count, first }) {
    const begins = [];
    const begin = seconds() + 0.2; // the reader listens by then
    for (let number = 0; number < count; number += 1) {
      const ahead = begin + number / PER_S - seconds();
      if (ahead > 0) await new Promise((resolve) => { setTimeout(resolve, ahead * 1000); });
      begins.push(seconds());
      await writeOnce([keyOf(first + number)]);
    }
    return begins;
  },
};

async function main() {
  await db.info();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const call = JSON.parse(line);
    process.stdout.write(`${JSON.stringify({ answer: await calls[call.function](call.arguments) })}\n`);
  }
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
