"""Random kernels for both kinds of core: split, skewed, synchronised and run with flags that arrive in any
legal order. ``python -m tests.random_mixed`` runs many.
"""
