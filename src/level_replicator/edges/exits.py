"""What a command ends with."""

from level_replicator.core.errors import ConfigError

DONE = 0
FAILED = 1
"""It could not be done, or something wrong was found."""
ASKED_WRONGLY = 2
"""As argparse has it."""
NOT_FOUND = 3
"""There is no such key: so that a script can tell it from a node that is not there."""
INTERRUPTED = 130
READER_GONE = 141


class UsageError(ConfigError):
    """What was typed cannot be meant, whatever the node is like."""
