"""The demo: the whole main job over HTTP, on a real base and a real command grammar."""
