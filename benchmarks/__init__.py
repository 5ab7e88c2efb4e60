"""Speed of tilejit beside its peers and beside the limits of the machine: ``python -m benchmarks --help``."""
