"""tilejit/frontend"""
