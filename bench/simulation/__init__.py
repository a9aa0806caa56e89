"""A cluster on paper: 10⁸ items, 1,000 queries a second, failures; simulated from measured service times.

Belongs here: what a query costs, who asks what, queues, and what fails. Does not: anything that measures a
service, but for `stops`, which asks the demo how many samples its answers take.
"""
