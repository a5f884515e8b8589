"""Weights of the authors' Keras networks: their names, their layouts, their files.

Reading a file needs h5py (``pip install kswap[keras]``); TensorFlow is never needed.
"""
