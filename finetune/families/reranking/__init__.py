"""Models that read a query and a document side by side and score them: cross-encoders."""
