"""Kernels of published measurements, written by hand at the machine level."""
