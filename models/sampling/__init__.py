"""From pixels and a key to samples of h(x + Z).

Belongs here: the queue of chunks, the engine that owns the network, the smoothed model. Does not: caches,
certificates.
"""
