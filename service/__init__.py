"""One service around one model: `Retriever` ties models, index and certify together; `http` is its door.

Belongs here: what one query and one gallery need, and the settings of an installation. Does not: the proofs
(certify/), the networks (models/), the storage and the search (index/), the command line (retrievalguard/).

`Retriever` knows nothing of HTTP: `Retriever.open(settings).retrieve(image)` works in-process. The
public names are offered by `retrievalguard`; nothing is imported here, so that settings are read before
torch is loaded.
"""
