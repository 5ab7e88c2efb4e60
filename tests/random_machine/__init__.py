"""Random machine programs through allocation and synchronisation, judged by a model of a core.

``python -m tests.random_machine --count 20000 --seed 0 --interleavings 100 --workers 2``
"""
