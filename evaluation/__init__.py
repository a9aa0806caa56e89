"""The paper's experiments: certified Recall@1, its limits and plots, and attacks.

Belongs here: what measures certificates on labelled images. Does not: timing, which is bench/.
"""
