"""What a way to run a network says where it does not work."""


class VariantUnavailable(Exception):
    """This way to run the network does not work here; the message says why."""
