"""Jobs: asked for, resolved, validated, and every step of their state."""
