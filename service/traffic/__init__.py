"""Who may work, and when: admission, turns at a processor, and single flight.

Belongs here: counting, waiting, fairness. Does not: what the work is.
"""
