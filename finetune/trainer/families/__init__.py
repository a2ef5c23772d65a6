"""A family loads a base, attaches the adapter, runs the body and exports the adapter."""
