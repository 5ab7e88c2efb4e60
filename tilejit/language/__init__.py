"""tilejit/language"""
