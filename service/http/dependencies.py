"""What routes are given: the retriever of the application."""

from typing import Annotated

from fastapi import Depends, Request

from service.retriever import Retriever


async def _retriever(request: Request) -> Retriever:
    """It waits for nothing: as a plain function it would be called on a thread, at the cost of a hit."""
    retriever: Retriever = request.app.state.retriever
    return retriever


Service = Annotated[Retriever, Depends(_retriever)]
