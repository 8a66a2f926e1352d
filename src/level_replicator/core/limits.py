"""Every limit and default of the library, each with its unit. Enforced before memory is taken."""

# -- what a write may hold
MAX_KEY_BYTES = 1024 * 1024
MAX_VALUE_BYTES = 64 * 1024 * 1024
MAX_CONTEXT_ORIGINS = 4_096
"""Origins in one key's context. The oldest are left out above it: at worst an overwrite is then told as a conflict."""

# -- what a frame may hold
MAX_HANDSHAKE_FRAME_BYTES = 32 * 1024
"""Before a peer is accepted."""
MAX_FRAME_BYTES = MAX_VALUE_BYTES + MAX_KEY_BYTES + 16 * MAX_CONTEXT_ORIGINS + 4_096
"""After it: the largest entry that may exist, and its envelope."""
MAX_FRAME_ENTRIES = 4_096
MAX_VECTOR_ORIGINS = 1_000_000
"""Origins in one vector; 16 bytes each."""
MAX_TAKEN_ORIGINS = 500_000
"""Origins in our own vector, above which a peer's round or reconciliation that brings more is refused: everybody would
refuse a vector that is longer than MAX_VECTOR_ORIGINS."""
MAX_EPOCHS = 256
"""Epochs in the history of an origin; 16 bytes each. A restore that goes back further than this many runs in which
something was written may stay unnoticed."""
MAX_TAKEN_EPOCHS = 1_000_000
"""Epochs in all histories that a node keeps, above which a peer's histories are refused."""
MAX_BRANCHES = 10_000
"""Branches of origins that a node knows, so forks that happened among all nodes, ever: 16 bytes each."""
MAX_DIGEST_BYTES = 64
"""Of the digest of a peer's histories."""
HISTORIES_PER_FRAME = 1_000
"""Histories in one message."""
MAX_RESUME_INTERVALS = 10_000
"""Intervals of a broken-off scan that a peer may name when it asks to go on with it."""
MAX_ROUND_INTERVALS = 2 * MAX_RESUME_INTERVALS
"""Intervals of one origin, with gaps between them, in one round: its reader remembers each until it is complete."""
MAX_FEED_INTERVALS = 1_000
"""Intervals of one origin kept for a peer that does not read; above it the gaps between them are sent as well."""
MAX_BYE_CHARACTERS = 500

# -- keys
MAX_TLS_HANDSHAKE_BYTES = 32 * 1024
MAX_PEMS_BYTES = 1024 * 1024
MAX_TRUSTED_BYTES = 4 * 1024 * 1024
MIN_RSA_BITS = 2_048
DEFAULT_CERTIFICATE_DAYS = 36_500
MAX_REASON_CHARACTERS = 200
KEYS_LOOKED_AT_EVERY_S = 1.0
"""How often the key file and the file of trusted fingerprints are read again."""

# -- reconcile
LEAF_ROWS = 16
"""A range with no more rows than this is sent row by row, not split any more."""
MANY_LEAF_ROWS = 128
"""Where a range was parted into many, and nearly all are not equal, those with no more rows are sent so too."""
FEW_PARTS = 8
MANY_PARTS = 1_024
MANY_ROWS = 65_536
"""A range is parted into FEW_PARTS, or, where the reader has at least MANY_ROWS, into MANY_PARTS."""
MAX_PARTS_BYTES = 64 * 1024
"""Of the keys that part a range in one message; the last part is larger then."""
MAX_RANGE_QUERIES = 64
"""Ranges that wait for their answer at one moment."""
MAX_RECONCILE_DEPTH = 64
MAX_RECONCILE_RANGES = 65_536
MAX_RECONCILE_RANGE_BYTES = 16 * 1024 * 1024
"""How often a range is parted again, and how many ranges, with what keys, wait to be queried: an honest peer comes
nowhere near."""
MAX_FETCH_KEYS = 1_024
RECONCILE_SLICE_ROWS = 2_000
"""Index rows that a reconciliation looks at before others have their turn."""
RESOLVE_ROWS = 1_000
"""Index rows that are resolved and written in one batch, under the lock."""
REPAIR_BATCH_BYTES = 4 * 1024 * 1024
"""A batch that writes stored values again (a stale node's in a reconciliation, a repair, a new origin) ends when it
holds this much: there may be a thousand of the largest. One of any size has room."""
PULL_AGAIN_FIRST_MS = 250
PULL_AGAIN_CAP_MS = 60_000
"""A pull that had to leave something out, or would repeat one that changed nothing, is begun again after the first, and
after ever longer times up to the last."""
STALL_MS = 60_000
"""A warning says so when nothing of a peer was taken over for so long, though this node waits for it."""
RECONCILE_STALL_MS = 600_000
"""A peer that says nothing more of a reconciliation for so long is cut off: it keeps others waiting, or a snapshot
open."""

# -- bulk load
BULK_LOAD_MIN_ENTRIES = 10_000
"""A peer that knows nothing but its own writes gets a bulk load, in order of keys, where it would be sent so many
entries of the log."""
BULK_LOAD_OWN_ROWS = 10_000
BULK_LOAD_SHARE = 8
"""And if it has no more rows than this, and that part of what it is to be sent: what it may have already is
sent all the same."""
BULK_LOAD_PREVIEW_ENTRIES = 256
"""The newest entries come first all the same."""
FLOOR_PATIENCE_MS = 60_000
BULK_LOAD_PATIENCE_MS = 600_000
FLOOR_PATIENCE_CAP_MS = 3_600_000
"""Floors that stay above the vector are lowered to it after the first, or after the second while a bulk load is
incomplete and nobody continues it. Where that fails, since rows are damaged, it is tried again after ever longer times
up to the last."""
LEFTOVER_PATIENCE_MS = 600_000
LEFTOVER_LONG_PATIENCE_MS = 24 * 3_600_000
FEW_LEFTOVERS = 1_000
"""Entries above the vector, of a scan that broke off, are re-stamped when nothing has changed about them for the first;
if they are more than the last, for the second."""

# -- space
DEFAULT_LOG_MAX_BYTES = 1024 * 1024 * 1024
DEFAULT_LOG_MAX_AGE_S = 7 * 86_400.0
DEFAULT_TOMBSTONE_TTL_S = 30 * 86_400.0
MIN_RETENTION_S = 0.1
RETENTION_BATCH = 1_000
"""Entries or tombstones that leave in one batch, under the lock."""
RETENTION_PAUSE_S = 0.005
"""Between two such batches, so that writers have their turn."""
MIN_RETENTION_INTERVAL_S = 0.1
MAX_RETENTION_INTERVAL_S = 2.0
"""How often the size and age of the log are looked at."""
MAX_SWEEP_INTERVAL_S = 6 * 3_600.0
"""How often the index is searched for old tombstones."""
FIRST_SWEEP_AFTER_S = 60.0
"""The first time since it was opened."""
TRUNCATE_TO = 0.75
"""A log above log_max_bytes is cut back to this part of it, one with entries above log_max_age to this age."""

# -- how a frame of entries is cut by the sender
FRAME_TARGET_BYTES = 256 * 1024
"""A frame of entries is closed when it holds this much, or FRAME_TARGET_ENTRIES."""
FRAME_TARGET_ENTRIES = 1_024
FRAMES_PER_TURN = 4
"""Frames sent to one peer before another one has its turn."""
SEND_BUFFER_BYTES = 1024 * 1024
"""A reader with this much unread gets no more until it has read; its queue is the log."""

TAIL_BYTES = 4 * 1024 * 1024
"""The newest local writes, kept in memory for peers that are live. One entry of any size has room in a round."""

# -- the filter of known keys
FILTER_BYTES = 4 * 1024 * 1024
"""Of memory, a power of two. With a million keys it is wrong about a new one in 3 of 100 cases, with ten in 26."""
FILTER_MASK = FILTER_BYTES * 8 - 1
FILTER_SLICE_KEYS = 1_000
"""Keys of the index that it learns in one step, under the lock."""
FILTER_WORTH_LOOKUPS = 1_000
"""It learns them when it could have spared so many lookups."""

# -- local writes
MAX_GROUP_ENTRIES = 10_000
MAX_GROUP_BYTES = 16 * 1024 * 1024
"""Of writes with `sync` that are brought to the disk together. One batch of any size has room."""

# -- time
DEFAULT_MAX_CLOCK_DRIFT_S = 60.0
DEFAULT_HEARTBEAT_S = 5.0
MIN_HEARTBEAT_S = 0.05
MAX_HEARTBEAT_S = 3_600.0
SILENCE_IN_HEARTBEATS = 4
"""A peer that was silent for this many heartbeats is taken for gone."""
FORWARD_DELAY_MS = 5
"""What came from one peer waits this long before it goes to another, which may be getting it from elsewhere."""
MIN_ORIGIN_CHANGE_INTERVAL_MS = 60_000
"""A node goes over to a new origin on the word of a peer no more often than this."""
HANDSHAKE_TIMEOUT_MS = 10_000
"""From the first byte of a connection until both have accepted: TLS, `identify`, Hello and Welcome together."""
MAX_TICK_S = 1.0
"""Least often that time limits are looked at, whatever the heartbeat."""
ROUND_INTERVAL_MS = 8
"""Least time between two live rounds to one peer: changes written meanwhile travel together."""
BACKOFF_FIRST_S = 0.1
BACKOFF_CAP_S = 30.0
BACKOFF_RESET_AFTER_S = 10.0
"""A connection that lived this long starts the backoff anew."""
CONNECT_TIMEOUT_S = 10.0

# -- how many
MAX_PENDING_HANDSHAKES = 128
MAX_PENDING_PER_NETWORK = 32
"""Connections that are not accepted yet: in all, and from one address (IPv6: one /64). Above either the one that has
waited longest makes place: an honest handshake takes milliseconds."""
ACCEPTS_PER_TURN = 8
"""Of new connections, before the event loop looks after the others again."""
LISTEN_BACKLOG = 1_024
"""New connections that wait in the kernel; above it the next ones are slow to come in."""
MAX_IDENTIFY_CALLS = 64
"""Calls of `identify` under way at one moment, those included that did not come back in time."""
MAX_IDENTIFY_STRANGERS = 48
MAX_IDENTIFY_STRANGERS_PER_NETWORK = 16
"""Of these, calls about peers that no pin and no list names, and those among them that came from one address (IPv6: one
/64): a flood of strangers leaves room for the known."""
MAX_METRICS_CONNECTIONS = 16
"""To the port of `metrics`, each with a thread; above it the one that was there first makes place."""
REFUSALS_REPORTED_PER_S = 5
"""Refused strangers that become log lines and events in one second: a flood of them must not fill a disk."""
MAX_WAITING_VECTOR_QUERIES = 16
MAX_PEER_CONNECTIONS = 1_024
MAX_REMEMBERED_PEERS = 4_096
"""Peers that dialled us and whose counters `status` still shows after they left."""
MAX_ORIGINS_OF_PEERS = 8_000_000
FEW_ORIGINS = 8_192
"""Origins in what is kept of all connections together, about 100 bytes each. Above the first a connection that has more
than the second is cut off when it says anything."""
MAX_REMEMBERED_ORIGINS = 100_000
"""In the vectors, all together, of those who left. The oldest are forgotten above it: of them no `behind` is told."""
BEHIND_COUNT_CAP = 100_000
"""`status` stops counting at this many entries behind."""
MAX_WAITING_EVENTS = 1_000
MAX_WAITING_EVENT_BYTES = 64 * 1024 * 1024
"""Events for a callback that does not keep up, and the keys and values in them; the oldest are dropped above it, with a
warning. One event of any size has room."""
MAX_UNREPORTED_CONFLICTS = 10_000
MAX_UNREPORTED_CONFLICT_BYTES = 64 * 1024 * 1024
"""Conflicts that wait on the disk for an `on_conflict` that does not keep up, and the keys and values in them; the
oldest are dropped above it, with a warning. One conflict of any size has room."""
MAX_LOST_KEYS = 10_000
"""Keys whose values are lost on this node and wait to come from a peer. Of more than that the rows are forgotten."""
CONFLICTS_READ_ENTRIES = 64
CONFLICTS_READ_BYTES = 256 * 1024
"""How many conflicts are read from the disk at once; so many may be reported again after a kill."""
CHANGES_CHUNK_ENTRIES = 512
CHANGES_CHUNK_BYTES = 256 * 1024
"""What a reader of the changes feed is given at once."""

# -- clients
MAX_CLIENTS = 512
"""Connections of clients to one node."""
MAX_CLIENT_SNAPSHOTS = 1_024
MAX_CLIENT_FEEDS = 64
"""Of one connection."""
MAX_CLIENT_WAITS_MS = 30_000
"""The longest that a request may wait for something to happen; who wants to wait longer asks again."""
PAGE_ENTRIES = 1_000
PAGE_BYTES = 256 * 1024
"""Where a page of keys and values ends; one of any size has room."""
REQUESTS_PER_TURN = 64
"""Of one client, before others have their turn."""
LONG_WRITE_BYTES = 64 * 1024
"""A write of more than this, or one with `sync`, is done beside the event loop."""
CLIENT_THREADS = 4
MAX_CLIENT_LONG = 16
"""Requests of one client that are done beside the event loop at one moment; the next ones wait."""
MAX_CLIENT_LONG_BYTES = 8 * 1024 * 1024
"""Of keys and values in writes of one client that are under way; the next request waits. One of any size has room."""
CLIENT_TIMEOUT_S = 10.0
"""How long a client tries to connect; and, where many share a database, to find one that holds it."""
