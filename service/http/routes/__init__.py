"""A file a resource: each route reads its request, asks the retriever, and says what it found."""
