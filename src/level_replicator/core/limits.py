"""All limits and defaults of the library, with their units. A limit is enforced before memory is allocated."""

# -- sizes of a write
MAX_KEY_BYTES = 1024 * 1024
MAX_VALUE_BYTES = 64 * 1024 * 1024
MAX_CONTEXT_ORIGINS = 4_096
"""Origins in the context of a key. Above this the oldest are left out; an overwrite may then be reported as a
conflict."""

# -- sizes of a frame
MAX_HANDSHAKE_FRAME_BYTES = 32 * 1024
"""Size of a frame before both sides have accepted each other."""
MAX_FRAME_BYTES = MAX_VALUE_BYTES + MAX_KEY_BYTES + 16 * MAX_CONTEXT_ORIGINS + 4_096
"""Size of a frame afterwards: the largest possible entry and its envelope."""
MAX_ANSWER_BYTES = MAX_FRAME_BYTES + MAX_KEY_BYTES
"""Size of a frame with an answer to a client: a page of one item names its key once more, as its end."""
MAX_FRAME_ENTRIES = 4_096
MAX_VECTOR_ORIGINS = 1_000_000
"""Origins in a version vector; 16 bytes each."""
MAX_OWN_VECTOR_ORIGINS = 500_000
"""Origins in this node's own vector. A peer's round or reconciliation that would add more is refused, since all nodes
refuse a vector longer than MAX_VECTOR_ORIGINS."""
MAX_EPOCHS = 256
"""Epochs in the history of an origin; 16 bytes each. A restore that goes back by more runs with writes than this may
stay unnoticed."""
MAX_STORED_EPOCHS = 1_000_000
"""Epochs in all histories that a node stores. A peer's histories that would exceed this are refused."""
MAX_BRANCHES = 10_000
"""Branches that a node stores: two or fewer for each fork that ever happened among all nodes; 16 bytes each."""
MAX_DIGEST_BYTES = 64
"""Size of the digest of a peer's histories."""
HISTORIES_PER_FRAME = 1_000
"""Histories in one message."""
MAX_RESUME_INTERVALS = 10_000
"""Intervals of an interrupted scan that a peer may list when it resumes the scan."""
MAX_ROUND_INTERVALS = 2 * MAX_RESUME_INTERVALS
"""Separate intervals of one origin in one round; the reader stores each until the round is complete."""
MAX_SEND_QUEUE_INTERVALS = 1_000
"""Intervals of one origin in the send queue of a peer. Above this they are joined into one interval, and the entries
between them are sent as well."""
MAX_BYE_CHARACTERS = 500
"""Characters of the text of a `Bye` that are kept."""

# -- keys
MAX_TLS_HANDSHAKE_BYTES = 32 * 1024
MAX_PEMS_BYTES = 1024 * 1024
MAX_TRUSTED_BYTES = 4 * 1024 * 1024
MIN_RSA_BITS = 2_048
DEFAULT_CERTIFICATE_DAYS = 36_500
MAX_REASON_CHARACTERS = 200
CREDENTIAL_RELOAD_INTERVAL_S = 1.0
"""Interval at which the key file and the file of trusted fingerprints are read again."""

# -- reconciliation
LEAF_ROWS = 16
"""A range with at most this many rows is not split; its rows are sent."""
MAX_LEAF_ROWS = 128
"""The same limit for the parts of a range that was split into many parts of which nearly all differ."""
SPLIT_PARTS = 8
MAX_SPLIT_PARTS = 1_024
LARGE_INDEX_ROWS = 65_536
"""A range is split into SPLIT_PARTS, or into MAX_SPLIT_PARTS if the reader has at least LARGE_INDEX_ROWS index rows."""
MAX_SPLIT_BYTES = 64 * 1024
"""Size of the keys in one RangeSplit. If it is reached, the last part is larger than the others."""
MAX_RANGE_QUERIES = 64
"""Ranges in one RangeQuery, and ranges that wait for an answer at the same time."""
MAX_RECONCILE_DEPTH = 64
MAX_RECONCILE_RANGES = 65_536
MAX_RECONCILE_RANGE_BYTES = 16 * 1024 * 1024
"""How many times a range is split again, and how many ranges, with how many bytes of keys, wait to be queried. A peer
that follows the protocol stays far below these limits."""
MAX_FETCH_KEYS = 1_024
RECONCILE_SLICE_ROWS = 2_000
"""Index rows that a reconciliation reads before it lets other work of the event loop run."""
RESOLVE_ROWS = 1_000
"""Index rows that are resolved and written in one batch while the lock is held."""
REPAIR_BATCH_ENTRIES = 1_000
REPAIR_BATCH_BYTES = 4 * 1024 * 1024
"""Entries, and their size, at which a batch that rewrites stored entries is closed (re-stamping, repair, renaming, a
new origin). A single value of any size fits."""
PULL_RETRY_FIRST_MS = 250
PULL_RETRY_CAP_MS = 60_000
"""First and longest delay before a pull is repeated that left something out, or that would repeat a reconciliation
without effect. The delay doubles each time."""
STALL_MS = 60_000
"""A warning is logged if this node waits for a peer and has adopted nothing from it for this long."""
RECONCILE_STALL_MS = 600_000
"""A peer that sends nothing for its reconciliation for this long is disconnected, since it makes others wait, or keeps
a snapshot open."""

# -- bulk load
BULK_LOAD_MIN_ENTRIES = 10_000
"""A reader whose vector covers only its own writes is sent a bulk load, in order of keys, if it lacks at least this
many entries of the log."""
BULK_LOAD_OWN_ROWS = 10_000
BULK_LOAD_SHARE = 8
"""The reader may have at most BULK_LOAD_OWN_ROWS index rows, and at most 1/BULK_LOAD_SHARE of the sender's rows, since
a bulk load also sends rows that the reader already has."""
BULK_LOAD_PREVIEW_ENTRIES = 256
"""Newest entries of the log that are sent before a bulk load."""
FLOOR_PATIENCE_MS = 60_000
BULK_LOAD_PATIENCE_MS = 600_000
FLOOR_PATIENCE_CAP_MS = 3_600_000
"""A floor that stays above the vector is lowered to it after FLOOR_PATIENCE_MS, or after BULK_LOAD_PATIENCE_MS while a
bulk load is incomplete and not continued. If damaged rows prevent it, the next attempts follow after doubling delays of
at most FLOOR_PATIENCE_CAP_MS."""
LEFTOVER_PATIENCE_MS = 600_000
LEFTOVER_LONG_PATIENCE_MS = 24 * 3_600_000
FEW_LEFTOVERS = 1_000
"""Entries above the vector, left over from an interrupted scan, are re-stamped when they have not changed for
LEFTOVER_PATIENCE_MS, or for LEFTOVER_LONG_PATIENCE_MS if they are more than FEW_LEFTOVERS."""

# -- space
DEFAULT_LOG_MAX_BYTES = 1024 * 1024 * 1024
DEFAULT_LOG_MAX_AGE_S = 7 * 86_400.0
DEFAULT_TOMBSTONE_TTL_S = 30 * 86_400.0
MIN_RETENTION_S = 0.1
RETENTION_BATCH = 1_000
RETENTION_BATCH_BYTES = 4 * 1024 * 1024
"""Entries or tombstones that are removed in one batch while the lock is held, and the size of the entries."""
RETENTION_PAUSE_S = 0.005
"""Pause between two such batches, in which writers can take the lock."""
MIN_RETENTION_INTERVAL_S = 0.1
MAX_RETENTION_INTERVAL_S = 2.0
"""Shortest and longest interval at which the size and age of the log are checked."""
MAX_SWEEP_INTERVAL_S = 6 * 3_600.0
"""Longest interval at which the index is searched for old tombstones."""
FIRST_SWEEP_AFTER_S = 60.0
"""Delay between opening a node and the first search."""
TRUNCATE_TO = 0.75
"""A log above log_max_bytes or log_max_age is truncated to this fraction of the limit."""

# -- frames of entries, on the sending side
FRAME_TARGET_BYTES = 256 * 1024
"""A frame of entries is closed when it has FRAME_TARGET_BYTES or FRAME_TARGET_ENTRIES."""
FRAME_TARGET_ENTRIES = 1_024
FRAMES_PER_TURN = 4
"""Frames that are sent to one peer before the next peer is served."""
SEND_BUFFER_BYTES = 1024 * 1024
"""Unsent bytes of a connection above which no further entries are read for it. The log is its queue."""

TAIL_BYTES = 4 * 1024 * 1024
"""Size of the newest local writes, which are kept in memory for live peers. A single entry of any size fits."""

# -- the filter of known keys
FILTER_BYTES = 4 * 1024 * 1024
"""Memory of the filter, a power of two. Its rate of false positives is 3 % for a million keys, 26 % for ten million."""
FILTER_MASK = FILTER_BYTES * 8 - 1
FILTER_SLICE_KEYS = 1_000
"""Keys of the index that are added to the filter in one step, while the lock is held."""
FILTER_WORTH_LOOKUPS = 1_000
"""The filter is built once it could have saved this many lookups."""

# -- local writes
MAX_GROUP_ENTRIES = 10_000
MAX_GROUP_BYTES = 16 * 1024 * 1024
"""Size of a group of synced writes that share one fsync. A single batch of any size fits."""

# -- time
DEFAULT_MAX_CLOCK_DRIFT_S = 60.0
DEFAULT_HEARTBEAT_S = 5.0
MIN_HEARTBEAT_S = 0.05
MAX_HEARTBEAT_S = 3_600.0
SILENCE_IN_HEARTBEATS = 4
"""A peer that is silent for this many heartbeat intervals is considered dead."""
FORWARD_DELAY_MS = 5
"""Delay before entries of one peer are forwarded to another peer, which may receive them from elsewhere meanwhile."""
MIN_ORIGIN_CHANGE_INTERVAL_MS = 60_000
"""Shortest time between two origin changes that peers cause."""
HANDSHAKE_TIMEOUT_MS = 10_000
"""Time from the first byte of a connection until both sides have accepted: TLS, `identify`, Hello and Welcome."""
MAX_TICK_S = 1.0
"""Longest interval at which time limits are checked, whatever the heartbeat."""
ROUND_INTERVAL_MS = 8
"""Shortest time between two live rounds to one peer. Changes that are written meanwhile share a round."""
BACKOFF_FIRST_S = 0.1
BACKOFF_CAP_S = 30.0
BACKOFF_RESET_AFTER_S = 10.0
"""A connection that lasted this long resets the backoff."""
CONNECT_TIMEOUT_S = 10.0
DIAL_HASTENED_AFTER_S = 1.0
"""`wait_synced` ends the delay between two attempts to dial a server, but not before it has lasted this long."""
DIAL_WARNING_INTERVAL_S = 3_600.0
"""Shortest time between two warnings that one server cannot be reached."""

# -- connections and queues
MAX_PENDING_HANDSHAKES = 128
MAX_PENDING_PER_NETWORK = 32
"""Connections that are not accepted yet: in total, and from one address (IPv6: one /64). Above either limit the oldest
of them is closed: an honest handshake takes milliseconds."""
ACCEPTS_PER_TURN = 8
"""New connections that the event loop accepts before it serves the others again."""
LISTEN_BACKLOG = 1_024
"""New connections that may wait in the kernel. Above this the kernel delays further ones."""
MAX_IDENTIFY_CALLS = 64
"""Calls of `identify` that run at the same time, including those that exceeded the time limit."""
MAX_IDENTIFY_STRANGERS = 48
MAX_IDENTIFY_STRANGERS_PER_NETWORK = 16
"""Calls among these for unknown peers (not pinned, not trusted): in total, and from one address (IPv6: one /64). A
flood of unknown peers leaves room for known ones."""
MAX_METRICS_CONNECTIONS = 16
"""Connections to the port of `metrics`, each with a thread. Above this the oldest is closed."""
REFUSALS_REPORTED_PER_S = 5
"""Refusals of unknown peers that are logged and reported as events in one second: a flood must not fill a disk."""
MAX_WAITING_VECTOR_QUERIES = 16
MAX_PEER_CONNECTIONS = 1_024
MAX_REMEMBERED_PEERS = 4_096
"""Disconnected peers that had dialled this node and whose counters `status` still shows."""
MAX_ORIGINS_OF_PEERS = 8_000_000
FEW_ORIGINS = 8_192
"""Origins in the state of all connections together, about 100 bytes each. Above MAX_ORIGINS_OF_PEERS a connection with
more than FEW_ORIGINS is closed at its next message."""
MAX_REMEMBERED_ORIGINS = 100_000
"""Origins in the vectors of all disconnected peers together. Above this the oldest vectors are forgotten, and `status`
shows no `behind` for those peers."""
BEHIND_COUNT_CAP = 100_000
"""`status` stops counting at this many entries behind."""
MAX_WAITING_EVENTS = 1_000
MAX_WAITING_EVENT_BYTES = 64 * 1024 * 1024
"""Events that wait for a slow callback, and the size of their keys and values. Above either limit the oldest events are
dropped, with a warning. A single event of any size fits."""
MAX_UNREPORTED_CONFLICTS = 10_000
MAX_UNREPORTED_CONFLICT_BYTES = 64 * 1024 * 1024
"""Conflicts that wait on the disk for a slow `on_conflict`, and the size of their keys and values. Above either limit
the oldest are dropped, with a warning. A single conflict of any size fits."""
MAX_LOST_KEYS = 10_000
"""Keys whose values are lost on this node and requested from peers. The index rows of further ones are removed."""
CONFLICTS_READ_ENTRIES = 64
CONFLICTS_READ_BYTES = 256 * 1024
"""Conflicts that are read from the disk at once. As many may be reported again after a kill."""
CHANGES_CHUNK_ENTRIES = 512
CHANGES_CHUNK_BYTES = 256 * 1024
"""Changes that the feed reads at once."""

# -- clients
MAX_CLIENTS = 512
"""Connections of clients to one node."""
MAX_CLIENT_SNAPSHOTS = 1_024
MAX_CLIENT_FEEDS = 64
"""Snapshots and changes feeds of one client connection."""
MAX_CLIENT_WAITS_MS = 30_000
"""Longest time that a request may wait for an event. A client that wants to wait longer repeats the request."""
PAGE_ENTRIES = 1_000
PAGE_BYTES = 256 * 1024
"""Size at which a page of keys and values is closed. A single pair of any size fits."""
REQUESTS_PER_TURN = 64
"""Requests of one client that are handled before the next client is served."""
BACKGROUND_WRITE_BYTES = 64 * 1024
"""A write of more than this, or with `sync`, runs in a thread beside the event loop."""
CLIENT_THREADS = 4
"""Threads in each pool for such requests, and in the pool of `lrep.aio`."""
MAX_CLIENT_BACKGROUND_REQUESTS = 16
"""Requests of one client that run beside the event loop at the same time. Further ones wait."""
MAX_CLIENT_PENDING_WRITE_BYTES = 8 * 1024 * 1024
"""Size of the keys and values in unfinished writes of one client. Above this its next request waits. A single write of
any size fits."""
CLIENT_TIMEOUT_S = 10.0
"""How long a client tries to connect, or, with `share=True`, to find the process that holds the database."""
