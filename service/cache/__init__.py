"""What is kept between queries: samples and finished answers, as authenticated bytes.

Belongs here: layouts of bytes, seals, and the two stores. Does not: options, models, what an answer means.
"""
