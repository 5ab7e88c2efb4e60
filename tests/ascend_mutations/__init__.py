"""Deletes and moves flags and barriers of Ascend kernels: each that mattered must be missed.

``python -m tests.ascend_mutations [--only NAME] [--workers N] [--sample K --seed S]``
"""
