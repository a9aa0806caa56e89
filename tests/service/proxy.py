"""A TCP proxy between a client and a real server that makes the line, or the server, bad."""

import socket
import threading
import time
from contextlib import suppress
from typing import Self

PIECE = 65536


class Proxy:
    """Listens on a port of its own; what is set here holds from the next piece of data on.

    `delay`: each piece of a reply is late by so many seconds. `up_rate` and `down_rate`: bytes a millisecond,
    to the server and from it; 0 stops them. `lie`: sent in place of every reply. `hangs_up`: every connection
    ends.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.healthy()
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def healthy(self) -> None:
        """Pass everything on at once."""
        self.delay = 0.0
        self.up_rate: int | None = None
        self.down_rate: int | None = None
        self.lie: bytes | None = None
        self.hangs_up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for connection in [self._listening, *self._open]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            self._open += [client, server]
            threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                if self.hangs_up:
                    break
                if down:
                    time.sleep(self.delay)
                    data = data if self.lie is None else self.lie
                self._send(sink, data, down)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _send(self, sink: socket.socket, data: bytes, down: bool) -> None:
        sent = 0
        while sent < len(data) and not self._ended.is_set():
            rate = self.down_rate if down else self.up_rate
            if rate is None:
                sink.sendall(data[sent:])
                return
            sink.sendall(data[sent : sent + rate])
            sent += rate
            time.sleep(0.001)
