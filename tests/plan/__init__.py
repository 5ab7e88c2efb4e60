"""Text tests of the loop plans, and kernels on which plans were wrong."""
