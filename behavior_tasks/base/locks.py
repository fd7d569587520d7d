"""The kernel's locks: an open file or folder in; whether it could be locked out.

The one thing to know: such a lock (`flock`) ends with its process however that ends; some file systems have none.
"""

import fcntl


def try_lock(handle: int, how: int) -> bool:
    """Return whether a file or folder could be locked: not when somebody holds it, or nobody can.

    Args:
        handle: an open file descriptor; the lock goes with it.
        how: `fcntl.LOCK_SH` or `LOCK_EX`, with `LOCK_NB` for who does not wait.
    """
    try:
        fcntl.flock(handle, how)
    except OSError:
        return False
    return True
