"""tilejit/backend"""
