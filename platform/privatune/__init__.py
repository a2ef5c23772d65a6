"""The wiring: settings, URLs, command line, portal. Nobody imports it."""
