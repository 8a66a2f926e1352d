"""The credentials and trust rules of a node that has keys."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from level_replicator.security.identify import IdentifyRunner
from level_replicator.security.trust import Trust

if TYPE_CHECKING:
    from level_replicator.security.tls import Contexts


@dataclass
class NodeSecurity:
    """Credentials and trust rules of a node.

    contexts         TLS contexts of its key; replaced when the key file changes
    trust            pins and trusted fingerprints; updated when the trusted list changes
    identify_runner  calls the application's `identify`; None if the configuration has none
    """

    contexts: "Contexts"
    trust: Trust
    identify_runner: IdentifyRunner | None
