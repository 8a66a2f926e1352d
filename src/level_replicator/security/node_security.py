"""The credentials of a node with keys, and its rules of trust."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from level_replicator.security.identify import IdentifyRunner
from level_replicator.security.trust import Trust

if TYPE_CHECKING:
    from level_replicator.security.tls import Contexts


@dataclass
class NodeSecurity:
    """`contexts` and `trust` may change while the node runs. `identify_runner` is None without `identify`."""

    contexts: "Contexts"
    trust: Trust
    identify_runner: IdentifyRunner | None
