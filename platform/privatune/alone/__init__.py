"""One model served away from the platform: no database, no framework, no network but the port."""
