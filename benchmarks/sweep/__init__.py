"""Sweeps: the best configuration of a kernel found by trying many, and kept where launches find it.

`space` and `search` say which candidates to try; `driver` has them tried by any executor and keeps every
outcome in `journal`; `worker` is what the executor runs: it owns a process, `child`, in which candidates run,
may crash and may hang.
"""
