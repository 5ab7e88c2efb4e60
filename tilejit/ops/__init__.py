"""tilejit/ops"""
