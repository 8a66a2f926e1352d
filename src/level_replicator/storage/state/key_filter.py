"""A filter of the keys in the index, in memory, which avoids most index lookups for new keys.

It has false positives, for which the index is read, but no false negatives. So the key of every row that is added to
the index while a replica runs is added here, under the lock of the state. At open the filter is empty, and `whole` is
False. The keys of the index are added later, a slice at a time while the node serves, if lookups show the need.
"""

from level_replicator.core.limits import FILTER_BYTES, FILTER_MASK, FILTER_WORTH_LOOKUPS


class KeyFilter:
    """The filter.

    bits        FILTER_BYTES of bits; the hash of a key selects one
    whole       True if all keys of the index are in it
    lookups     number of index lookups that a whole filter might have avoided
    generation  number of times that it was cleared
    """

    __slots__ = ("bits", "generation", "lookups", "whole")

    def __init__(self) -> None:
        self.bits = bytearray(FILTER_BYTES)
        self.whole = False
        self.lookups = 0
        self.generation = 0

    def begin(self, *, empty: bool) -> None:
        """Clear the filter. With `empty` the index is known to be empty, so the filter is whole."""
        self.bits = bytearray(FILTER_BYTES)
        self.whole = empty
        self.lookups = 0
        self.generation += 1

    def is_new(self, key: bytes) -> bool:
        """Return True if the index certainly has no row of the key. Also add the key: the caller will write its row."""
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
        """True if a whole filter would have avoided so many lookups that adding all keys is worth it."""
        return not self.whole and self.lookups >= FILTER_WORTH_LOOKUPS

    def learn(self, keys: list[bytes]) -> None:
        """Add some keys of the index. The caller holds the lock."""
        bits = self.bits
        for key in keys:
            place = hash(key) & FILTER_MASK
            bits[place >> 3] |= 1 << (place & 7)
