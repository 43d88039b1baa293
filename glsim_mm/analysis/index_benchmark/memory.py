"""Memory of this process."""

import sys
from pathlib import Path


def peak_mib() -> float:
    """Most that was resident so far, MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)


def resident_mib() -> float:
    """What is resident now, MiB; the peak where the system does not tell."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return peak_mib()
    import resource

    return pages * resource.getpagesize() / 2**20
