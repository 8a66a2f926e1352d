"""The exceptions: one base class, and the built-in types that plyvel raises in the same cases."""

import pytest

from level_replicator.core import errors
from level_replicator.core.errors import RemoteProtocolError, ReplicationError

ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_one_base_class(kind: type[Exception]) -> None:
    assert issubclass(kind, ReplicationError)
    assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "built_in"),
    [
        (errors.ConfigError, ValueError),
        (errors.LimitError, ValueError),
        (errors.ClosedError, RuntimeError),
        (errors.ForkError, RuntimeError),
        (errors.ConnectionLostError, ConnectionError),
    ],
)
def test_code_for_plyvel_and_sockets_still_catches_them(kind: type[Exception], built_in: type[Exception]) -> None:
    with pytest.raises(built_in):
        raise kind("text")


def test_a_protocol_error_has_the_code_that_is_sent_to_the_peer() -> None:
    assert RemoteProtocolError("text").code == 0
    assert RemoteProtocolError("text", 3).code == 3
    assert str(RemoteProtocolError("text", 3)) == "text"
