"""The ways to run a network, and the choice of the one that is fastest on this machine.

Belongs here: what changes how h is computed (precision, compiler, batch, processor). Does not: noise,
queries.
"""
