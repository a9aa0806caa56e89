"""Images on their way into the gallery.

Belongs here: what can be read (folders, tables, data sets), the check of ids, labels and metadata, embedding.
Does not: storage and search, which are index/.
"""
