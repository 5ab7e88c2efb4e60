"""tilejit/target"""
