"""A fault that a process brings upon itself."""

import os
import time


def befall(number: int) -> None:
    """Send this process a signal and go on no sooner than it has taken it; another thread may be the one that does."""
    os.kill(os.getpid(), number)
    time.sleep(0.05)
