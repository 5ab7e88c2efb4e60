"""Random kernels, run by the interpreter and by the compiled backend, which must agree.

``python -m tests.random_kernels --count 10000 --seed 0`` runs many; the tests here run a fixed sample.
"""
