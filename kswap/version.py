"""The version of kswap, in one place."""

__version__ = "0.1.0"
