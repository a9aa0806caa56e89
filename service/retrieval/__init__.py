"""One query, from its options to its answer.

Belongs here: options, samples of a query, looks at them, the contest against the gallery, the answer and its
repetition. Does not: HTTP, SQL, the bytes of images.
"""
