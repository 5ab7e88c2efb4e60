"""tilejit/passes"""
