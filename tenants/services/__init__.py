"""The only writers of tenant tables: keyword-only verbs, each leaving an audit entry."""
