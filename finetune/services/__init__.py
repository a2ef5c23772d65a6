"""The only writers of what is made: keyword-only verbs, each in the caller's or its own scope."""
