"""PNG, JPEG and WebP files: what of them their pixels need, and whether all of it is there.

Belongs here: chunks, segments, orientation. Does not: decoding, and what the model takes (`service.images`).
"""
