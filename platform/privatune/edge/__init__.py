"""What stands before the application: who may send how much, how fast, and how often.

Nothing here reads a body. All counts live in this process's memory, so that a flood costs no
database work; with several web processes each keeps its own.
"""
