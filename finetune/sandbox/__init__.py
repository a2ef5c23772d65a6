"""Runs processes that handle a customer's data or a stranger's file in namespaces of their own.

What a process can see is a Room (room.py); how that is enforced is a Level, chosen by
`levels.require`; `start.start` starts one. Nothing is imported here: `inside` starts every process.
"""
