"""Rules of admission, each switched off, with the test that must then fail.

A plugin of pytest: `MUTANT=name pytest -p tests.integration.security.mutants …` runs tests against the mutant.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest

from level_replicator.node import admission
from level_replicator.node.admission import Admission
from level_replicator.protocol.session import Session
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.security import identify, tls
from level_replicator.security.identify import IdentifyRunner
from level_replicator.security.peer_identity import Decision
from level_replicator.security.trust import Trust
from tests.harness import waiting

Switch = Callable[[pytest.MonkeyPatch], None]
MANY = 1_000_000


def _nothing(*_arguments: Any) -> None:
    """Do nothing, in place of a rule that is switched off."""


def _pin_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Trust, "contradicts_pin", lambda *_: False)


def _everybody_is_known(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Trust, "knows", lambda *_: True)


def _role_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Trust, "is_read_only", lambda *_: False)


def _who_raises_has_said_yes(patch: pytest.MonkeyPatch) -> None:
    def call(self: IdentifyRunner, peer: Any, outcome: Any, _stranger: Any) -> None:
        try:
            self._identify(peer)
        except BaseException:
            outcome.set_result(Decision(accepted=True))
        else:
            peer.decision.add_done_callback(lambda decided: outcome.set_result(decided.result()))

    patch.setattr(IdentifyRunner, "_call", call)


def _no_bound_on_questions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IdentifyRunner, "_has_room", lambda *_: True)


def _strangers_crowd_out_the_known(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IdentifyRunner, "_has_room", lambda self, _: self._under_way < identify.MAX_IDENTIFY_CALLS)


def _no_time_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Admission, "tick", _nothing)


def _let_in_before_the_decision(patch: pytest.MonkeyPatch) -> None:
    ask = Admission._identify

    def admit_first(self: Admission, wire: Any, certificate: bytes, *, known: bool) -> None:
        ask(self, wire, certificate, known=known)
        self._admit(wire, self._pending[wire], read_only=False)

    patch.setattr(Admission, "_identify", admit_first)


def _read_before_the_decision(patch: pytest.MonkeyPatch) -> None:
    from asyncio import selector_events

    patch.setattr(selector_events._SelectorSocketTransport, "pause_reading", _nothing)  # type: ignore[attr-defined]


def _revoking_does_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Admission, "revoke", _nothing)


def _revoked_ones_get_the_rest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PeerConnection, "cut", lambda self, why: self.end(admission.ByeCode.REJECTED, why))


def _read_only_ones_are_asked(patch: pytest.MonkeyPatch) -> None:
    class AlwaysTakes(Session):
        read_only = property(lambda self: False, _nothing)  # type: ignore[assignment]

    patch.setattr("level_replicator.replication.coordinator.Session", AlwaysTakes)


def _read_only_ones_are_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "_refuse_changes", _nothing)


def _origin_is_who_it_says(patch: pytest.MonkeyPatch) -> None:
    peer = Admission._peer

    def without_its_key(wire: Any, guest: Any) -> Any:
        found = peer(wire, guest)
        found.fingerprint = None
        return found

    patch.setattr(Admission, "_peer", staticmethod(without_its_key))


def _older_tls(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tls.SSL, "TLS1_3_VERSION", tls.SSL.TLS1_2_VERSION)


def _weak_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tls, "MIN_RSA_BITS", 1)
    context = tls._context

    def lax(method: int, pems: Any) -> Any:
        made = context(method, pems)
        made.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
        return made

    patch.setattr(tls, "_context", lax)


def _long_handshakes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tls, "MAX_TLS_HANDSHAKE_BYTES", MANY)


def _no_bound_on_strangers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(admission, "MAX_PENDING_PER_NETWORK", MANY)


def _strangers_told_without_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("level_replicator.replication.refusal_limiter.REFUSALS_REPORTED_PER_S", MANY)


MUTANTS: dict[str, tuple[Switch, str]] = {
    switch.__name__.strip("_"): (switch, test)
    for switch, test in [
        (_pin_not_looked_at, "test_trust.py::test_a_server_with_another_certificate_than_the_pinned_one_is_refused"),
        (_everybody_is_known, "test_trust.py::test_an_unknown_peer_is_refused_and_receives_the_reason"),
        (_role_forgotten, "test_roles.py::test_the_role_follows_the_key_in_both_directions_of_dialing"),
        (_who_raises_has_said_yes, "test_identify.py::test_an_identify_that_raises_rejects_even_after_an_accept"),
        (_no_bound_on_questions, "test_identify.py::test_open_identify_calls_are_bounded"),
        (_strangers_crowd_out_the_known, "test_identify.py::test_unknown_peers_leave_room_for_trusted_ones"),
        (_no_time_limit, "test_identify.py::test_no_decision_in_time_is_a_rejection"),
        (_let_in_before_the_decision, "test_rejection.py::test_no_byte_passes_before_a_decision"),
        (_read_before_the_decision, "test_rejection.py::test_no_byte_passes_before_a_decision"),
        (_revoking_does_nothing, "test_trust.py::test_a_trusted_file_is_read_again"),
        (_revoked_ones_get_the_rest, "test_trust.py::test_a_revoked_peer_that_does_not_read_receives_no_further_byte"),
        (_read_only_ones_are_asked, "test_roles.py::test_a_role_is_given_by_identify"),
        (_read_only_ones_are_heard, "test_roles.py::test_a_read_only_peer_that_sends_changes_is_ended"),
        (_origin_is_who_it_says, "test_floods.py::test_a_peer_that_claims_the_origin_of_a_connected_one_is_refused"),
        (_older_tls, "test_rejection.py::test_an_older_tls_version_is_refused"),
        (_weak_keys, "test_rejection.py::test_a_weak_key_of_the_other_side_is_refused"),
        (_long_handshakes, "test_rejection.py::test_a_certificate_chain_that_is_too_long_is_refused"),
        (_no_bound_on_strangers, "test_floods.py::test_pending_connections_from_one_address_are_bounded"),
        (_strangers_told_without_end, "test_floods.py::test_reports_of_refusals_are_bounded_per_second"),
    ]
}


def pytest_configure() -> None:
    name = os.environ.get("MUTANT")
    if name is not None:
        waiting.DEADLINE_S = 2.0  # a test that waits in vain has caught the mutant
        MUTANTS[name][0](pytest.MonkeyPatch())
