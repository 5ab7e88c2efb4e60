"""tilejit"""
