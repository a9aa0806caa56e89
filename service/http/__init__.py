"""The only room that knows fastapi: requests in, answers and problem documents out.

Belongs here: routes, bodies, streams, the OpenAPI document, the middleware. Does not: what an answer is.
"""
