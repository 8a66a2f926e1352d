"""Which start of the machine this is: after an unclean stop it tells a killed process from a power loss."""

import subprocess
import sys
from pathlib import Path

UNKNOWN = b""
"""Of a system that does not tell. An unclean stop is then taken for a power loss, which is always safe."""

_LINUX = Path("/proc/sys/kernel/random/boot_id")


def boot_identity() -> bytes:
    """An id that changes with each start of the operating system."""
    try:
        if _LINUX.exists():
            return _LINUX.read_bytes().strip()
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(command, capture_output=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return UNKNOWN
