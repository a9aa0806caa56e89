"""Several machines: Ray runs the shards of a gallery.

Belongs here: what Ray needs to know of the service. Does not: how an image is answered.

shards  copies of the gallery's shards, as actors
"""
