"""tilejit/runtime"""
