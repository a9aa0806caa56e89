"""A cluster against one process: figures (`python -m bench.cluster`), and kills of all that it is made of.

Belongs here: who asks a cluster, changes its gallery and kills it, and what answers are compared with.
Does not: how Ray's replicas (`bench.replicas`), its machines (`bench.machines`) and servers are started.
"""
