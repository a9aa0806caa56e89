"""What routes are given: the retriever of the application."""

from typing import Annotated

from fastapi import Depends, Request

from service.retriever import Retriever


def _retriever(request: Request) -> Retriever:
    retriever: Retriever = request.app.state.retriever
    return retriever


Service = Annotated[Retriever, Depends(_retriever)]
