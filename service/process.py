"""What only the owner of a process may set: importing the library or opening a retriever changes nothing."""

from PIL import Image
from threadpoolctl import threadpool_limits

from models.passes.memory import keep_freed_memory


def own_process() -> None:
    """For a process that does nothing else: certify in parallel by query, keep freed memory, decode our way.

    BLAS on one thread: two busy pools of threads on the same cores slow each other down; torch keeps its own.
    Pillow's pixel limit: it only warns; that of the settings is checked on the header, before decoding.
    """
    threadpool_limits(1, user_api="blas")
    keep_freed_memory()
    Image.MAX_IMAGE_PIXELS = None
