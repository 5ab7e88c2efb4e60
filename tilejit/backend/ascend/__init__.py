"""Lowering, simulation and emission for Ascend 910B."""
