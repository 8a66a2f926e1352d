"""Mutants: the rules about clients, each switched off. A pytest plugin; the variable MUTANT names the mutant."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from level_replicator import shared
from level_replicator.api import admin_commands, request_handler
from level_replicator.api.request_handler import RequestHandler
from level_replicator.client import backends, changes, protocol
from level_replicator.client.aio import backends as aio_backends
from level_replicator.client.aio.changes import AsyncChanges
from level_replicator.client.connection import ClientConnection
from level_replicator.client.credentials import Credentials
from level_replicator.net import unix_socket
from level_replicator.node import admission, client_registry, client_session
from level_replicator.node.client_registry import ClientRegistry
from level_replicator.node.client_session import ClientSession
from level_replicator.node.stream import StreamTransport
from level_replicator.storage.state.notifier import Notifier
from tests.harness import waiting

Switch = Callable[[pytest.MonkeyPatch], None]
MANY = 1 << 30


def _nothing(*_arguments: Any) -> None:
    """Replaces a function that is switched off."""


def _readers_write(patch: pytest.MonkeyPatch) -> None:
    init = RequestHandler.__init__

    def lax(self: RequestHandler, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        self.read_only = False

    patch.setattr(RequestHandler, "__init__", lax)


def _readers_maintain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(admin_commands, "_require_write", _nothing)


def _files_for_anybody(patch: pytest.MonkeyPatch) -> None:
    backup = admin_commands._backup
    patch.setitem(
        request_handler.VERBS,
        "backup",
        lambda replica, _permissions, progress, arguments: backup(
            replica, admin_commands.ClientPermissions(local=True), progress, arguments
        ),
    )


def _access_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    init = ClientRegistry.__init__
    full = client_registry.ClientAccess.FULL
    patch.setattr(ClientRegistry, "__init__", lambda self, loop, _access, *others: init(self, loop, full, *others))


def _peers_at_the_unix_socket(patch: pytest.MonkeyPatch) -> None:
    introduced = admission.Admission.introduced

    def lax(self: Any, wire: Any, *, client: bool) -> None:
        wire.local = False
        introduced(self, wire, client=client)

    patch.setattr(admission.Admission, "introduced", lax)


def _role_not_held_to(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(client_session, "PREAMBLE", b"")


def _anybody_may_open_the_socket(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(unix_socket, "_MODE", 0o666)


def _read_on_though_nobody_reads(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClientSession, "_may_go_on", lambda self: not self.ended)


def _bytes_without_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(client_session, "MAX_CLIENT_PENDING_WRITE_BYTES", MANY)


def _snapshots_without_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(request_handler, "MAX_CLIENT_SNAPSHOTS", MANY)


def _snapshots_never_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClientConnection, "forget", _nothing)


def _listeners_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Notifier, "dont_call", _nothing)


def _cancelled_reading_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AsyncChanges, "_read_on", AsyncChanges._read)


def _interrupted_reading_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def read(self: Any, wait_ms: int) -> bool:
        items = self._own.call(changes.Read(0, self._feed, wait_ms))
        return bool(self._position.take(items))

    patch.setattr(changes.RemoteChanges, "_read", read)


def _abandoned_requests_release_nothing(patch: pytest.MonkeyPatch) -> None:
    for module in (protocol, aio_backends):
        patch.setattr(module, "release_of", _nothing)


def _writes_are_repeated(patch: pytest.MonkeyPatch) -> None:
    for module in (backends, aio_backends):
        patch.setattr(module, "is_repeatable", lambda _request: True)


def _any_answer_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(protocol, "_ANSWERS", dict.fromkeys(protocol._ANSWERS, object))


def _any_node_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Credentials, "check", _nothing)


def _feeds_outlive_their_database(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AsyncChanges, "end", _nothing)


def _nobody_watches_the_holder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shared.SharedBackend, "_watch", _nothing)


def _silent_connections_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StreamTransport, "close", _nothing)


MUTANTS: dict[str, tuple[Switch, str]] = {
    switch.__name__.strip("_"): (switch, test)
    for switch, test in [
        (_readers_write, "test_client.py::test_what_clients_of_the_port_may_do"),
        (_readers_maintain, "test_client.py::test_what_clients_of_the_port_may_do"),
        (_files_for_anybody, "test_client.py::test_a_backup_needs_the_unix_socket"),
        (_access_not_looked_at, "test_client.py::test_what_clients_of_the_port_may_do"),
        (_peers_at_the_unix_socket, "test_hostile_clients.py::test_a_peer_is_not_let_in_at_the_unix_socket"),
        (
            _role_not_held_to,
            "test_client_keys.py::test_a_key_accepted_as_a_client_is_no_peer_and_vice_versa",
        ),
        (_anybody_may_open_the_socket, "test_client.py::test_the_socket_is_for_its_owner_only_and_goes_with_the_node"),
        (
            _read_on_though_nobody_reads,
            "test_hostile_clients.py::test_unread_answers_stop_the_work_for_their_client_only",
        ),
        (_bytes_without_bound, "test_hostile_clients.py::test_writes_under_way_are_bounded_in_bytes"),
        (_snapshots_without_bound, "test_client.py::test_only_so_many_snapshots"),
        (_snapshots_never_given_back, "test_client.py::test_a_snapshot_is_as_it_was_and_goes_with_its_handle"),
        (_listeners_stay, "test_aio.py::test_repeated_waits_leave_no_listener"),
        (_cancelled_reading_is_forgotten, "test_aio.py::test_a_cancelled_read_loses_no_change"),
        (_interrupted_reading_is_forgotten, "test_feeds.py::test_an_interrupted_reader_misses_nothing"),
        (
            _abandoned_requests_release_nothing,
            "test_same_behaviour.py::test_a_cancelled_read_leaves_the_snapshot_and_keeps_none_of_its_own",
        ),
        (_writes_are_repeated, "../../unit/client/test_retry.py::test_what_may_have_been_done_is_sent_once"),
        (
            _any_answer_will_do,
            "../../unit/client/test_protocol.py::test_an_answer_that_may_not_come_ends_the_connection",
        ),
        (_any_node_will_do, "test_client_keys.py::test_a_node_with_another_key_gets_no_request"),
        (_feeds_outlive_their_database, "test_same_behaviour.py::test_a_feed_ends_with_its_database"),
        (_nobody_watches_the_holder, "test_sharing.py::test_another_process_takes_over_without_any_request"),
        (_silent_connections_stay, "test_hostile_clients.py::test_bytes_of_another_protocol_end_the_connection"),
    ]
}


def pytest_configure() -> None:
    name = os.environ.get("MUTANT")
    if name is not None:
        waiting.DEADLINE_S = 2.0  # a test that waits in vain has caught the mutant
        MUTANTS[name][0](pytest.MonkeyPatch())
