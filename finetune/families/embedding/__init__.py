"""Models that make one vector of a text: encoders, and decoders read at their last token."""
