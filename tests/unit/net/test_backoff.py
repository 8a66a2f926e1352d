"""The delays between attempts to dial a server."""

from random import Random

from level_replicator.net.backoff import Backoff


class _Fixed(Random):
    """Returns the same jitter each time."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        return self._value


def _delays(value: float, count: int) -> list[float]:
    backoff = Backoff(_Fixed(value), first_s=1, cap_s=8)
    return [backoff.next_delay_s() for _ in range(count)]


def test_it_doubles_up_to_the_cap() -> None:
    assert _delays(1.0, 6) == [1, 2, 4, 8, 8, 8]


def test_jitter_takes_away_up_to_half() -> None:
    assert _delays(0.0, 5) == [0.5, 1, 2, 4, 4]


def test_two_nodes_do_not_dial_in_step() -> None:
    one, other = Backoff(Random(1)), Backoff(Random(2))
    assert [one.next_delay_s() for _ in range(5)] != [other.next_delay_s() for _ in range(5)]


def test_a_reset_starts_again() -> None:
    backoff = Backoff(_Fixed(1.0), first_s=1, cap_s=8)
    assert [backoff.next_delay_s() for _ in range(3)] == [1, 2, 4]
    assert backoff.failures == 3
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next_delay_s() == 1


def test_it_never_overflows() -> None:
    backoff = Backoff(Random(1), first_s=1, cap_s=8)
    for _ in range(5_000):
        assert 0 < backoff.next_delay_s() <= 8
