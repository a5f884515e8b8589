"""The commands of ``kswap study``, one file each."""
