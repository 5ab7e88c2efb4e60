"""Kernels as users of Triton write them, each run as native code and in the interpreter, against numpy."""
