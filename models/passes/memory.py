"""Keep freed memory: the activations of one pass are the next one's, and giving them back costs a fifth.

What is kept, each thread that ever had it keeps for itself. So work that takes much more than passes do gives
it back.
"""

import ctypes

# glibc's malloc.h. Without these, blocks of a few megabytes go back to the kernel as soon as they are freed,
# and every pass pays for mapping and zeroing them again.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**25


def keep_freed_memory() -> bool:
    """Tell malloc to keep blocks of up to 32 MB for reuse, in this process; False where it is not glibc."""
    library = ctypes.CDLL(None)  # what this process is linked with
    if not hasattr(library, "mallopt"):
        return False
    return bool(
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST) and library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    )


def give_back_freed_memory() -> None:
    """Return to the kernel what this process has freed, by whichever thread; nothing without glibc."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
