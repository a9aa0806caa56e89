"""What every error about a model is, so that one `except` catches them all."""


class ModelError(Exception):
    """A model cannot be used or made: something is missing, malformed, or not what it says it is."""
