"""Networks, and the space that each provably maps into.

Belongs here: torch modules from pixels to embeddings, one family a file. Does not: files, noise, ways
to run them.
"""
