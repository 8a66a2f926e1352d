"""Which keys the index may hold: a filter in memory that spares most lookups of keys that are new.

It may say of a key that it may be there though it is not, and then the index is read; never the other way round. So
every row that is added to the index while a replica runs is added here, under the lock of the state. At open it
knows nothing, and says so; it learns what the index holds when it is worth it, a slice at a time beside live traffic.
"""

from level_replicator.core.limits import FILTER_BYTES, FILTER_MASK, FILTER_WORTH_LOOKUPS


class KeyFilter:
    """`bits`: as many as FILTER_BYTES hold; a key's place is in its hash. `whole`: whether all of the index is in it.
    `lookups`: of the index, which a whole filter might have spared. `generation`: how often it began anew."""

    __slots__ = ("bits", "generation", "lookups", "whole")

    def __init__(self) -> None:
        self.bits = bytearray(FILTER_BYTES)
        self.whole = False
        self.lookups = 0
        self.generation = 0

    def begin(self, *, empty: bool) -> None:
        """Anew: the index holds nothing, or it is not known what."""
        self.bits = bytearray(FILTER_BYTES)
        self.whole = empty
        self.lookups = 0
        self.generation += 1

    def is_new(self, key: bytes) -> bool:
        """Whether the index surely has no row of the key. From now on it may: who asks is about to write one."""
        place = hash(key) & FILTER_MASK
        byte, bit = place >> 3, 1 << (place & 7)
        bits = self.bits
        if bits[byte] & bit:
            return False
        bits[byte] |= bit
        if self.whole:
            return True
        self.lookups += 1
        return False

    @property
    def worth_learning(self) -> bool:
        """Whether it could have spared enough lookups to be worth loading."""
        return not self.whole and self.lookups >= FILTER_WORTH_LOOKUPS

    def learn(self, keys: list[bytes]) -> None:
        """Some of the keys of the index; under the lock."""
        bits = self.bits
        for key in keys:
            place = hash(key) & FILTER_MASK
            bits[place >> 3] |= 1 << (place & 7)
