"""tilejit/ir"""
