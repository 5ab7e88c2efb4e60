"""Every op record, on every element type and several shapes, run by every backend."""
