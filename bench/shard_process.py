"""A copy of a shard in a process of its own, asked over a pipe: what it is asked weighs, takes and keeps."""

import os
import pickle
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from index import Shard
from index.shards.messages import Answer, Request

LENGTH = struct.Struct(">Q")


class ShardProcess:
    """A `Copy`: it starts the process, and counts messages and their bytes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.shard_process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._lock = threading.Lock()
        self.messages = self.bytes = 0

    def __call__(self, request: Request, seconds: float) -> Answer:
        """The answer of the shard; raises what it raises."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        with self._lock:
            self.bytes += _send(to, request)
            answer, length = _receive(back)
            self.messages += 1
            self.bytes += length
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Answer)
        return answer

    @property
    def processor_seconds(self) -> float:
        """What the process has taken so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def held_mib(self) -> float:
        """What it holds in memory."""
        return held_mib(self._process.pid)

    def end(self) -> None:
        """Once nobody asks any more."""
        self._process.kill()
        self._process.communicate()


def held_mib(process: int | None = None) -> float:
    """The resident memory of a process; None: of this one."""
    pages = int(Path(f"/proc/{process or 'self'}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _send(to: IO[bytes], message: Any) -> int:
    content = pickle.dumps(message, 5)
    to.write(LENGTH.pack(len(content)) + content)
    to.flush()
    return len(content)


def _receive(back: IO[bytes]) -> tuple[Any, int]:
    (length,) = LENGTH.unpack(back.read(LENGTH.size))
    return pickle.loads(back.read(length)), length


def _serve() -> None:
    shard = Shard()
    while True:
        try:
            request, _ = _receive(sys.stdin.buffer)
        except struct.error:  # nobody asks any more
            return
        try:
            answer: Answer | Exception = shard.answer(request)
        except Exception as error:
            answer = error
        _send(sys.stdout.buffer, answer)


if __name__ == "__main__":
    _serve()
