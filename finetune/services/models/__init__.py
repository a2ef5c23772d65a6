"""Models: brought in, taken away, asked, and out of memory when a right ends."""
