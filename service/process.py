"""What only the owner of a process may set: importing the library or opening a retriever changes nothing."""

import ctypes
import os

from PIL import Image
from threadpoolctl import threadpool_limits

from models.passes.memory import keep_freed_memory

# glibc's malloc.h.
_M_ARENA_MAX = -8


def own_process() -> None:
    """For a process that does nothing else: certify in parallel by query, keep freed memory, decode our way.

    To be called before it has many threads, whose arenas stay.

    BLAS on one thread: two busy pools of threads on the same cores slow each other down; torch keeps its own.
    Pillow's pixel limit: it only warns; that of the settings is checked on the header, before decoding.
    """
    threadpool_limits(1, user_api="blas")
    keep_freed_memory()
    _share_arenas()
    Image.MAX_IMAGE_PIXELS = None


def _share_arenas() -> None:
    """No more arenas than cores: what is freed is kept by arena, and eight a core keep eight times as much.

    Each keeps what one large image or certificate took in it; whatever thread comes next finds that there.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, len(os.sched_getaffinity(0)))
