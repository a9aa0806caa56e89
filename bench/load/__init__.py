"""The load test, `make load`: a real server with a real Redis, and what people do to one.

Belongs here: requests of every kind, clients that send them, figures of what came back. Does not: how the
server is started (`bench.server`).
"""
