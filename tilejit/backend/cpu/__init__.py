"""tilejit/backend/cpu"""
