"""Saved conversions on the Hugging Face Hub: pushed with a model card, pulled as data.

A repository holds the files of a saved directory (:data:`kswap.saved.files.FILES`) and a card. Nothing else of it is
fetched, and nothing in it is executed.
"""
