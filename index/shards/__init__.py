"""Sealed segments whose vectors stand in other processes, two copies of each.

Belongs here: what is asked of a shard, what is checked of its answers, and how they are put together.
Does not: how a message travels (a `Copy` is any callable), who starts processes, certificates.

What a gallery knows of its items besides their vectors stays where queries are answered: serials, labels,
digests, and who is there. So a version of the gallery is a list of parts that the coordinator decides on,
each named by the digest of what is in it; a shard is never of another version, it can only lack a part.
"""
