"""The files of a saved directory. Nothing in it is ever executed."""
