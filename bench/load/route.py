"""A server with one bare route, for comparison: `python -m bench.load.route FILE` reads each body whole, and
sends the bytes of FILE. Nothing of the service is in it but its framework.
"""

import sys
import time
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from uvicorn.protocols.http.h11_impl import H11Protocol


def bare(content: bytes) -> FastAPI:
    """The application."""
    app = FastAPI()

    @app.post("/")
    async def route(request: Request) -> Response:
        await request.body()
        return Response(content, media_type="application/json")

    @app.get("/readyz")
    async def spent() -> float:
        """Seconds of a core that it took so far."""
        return time.process_time()

    return app


def main(file: Path) -> None:
    """Serve on a free port of this machine, which the log names."""
    uvicorn.run(bare(file.read_bytes()), host="127.0.0.1", port=0, http=H11Protocol, access_log=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
