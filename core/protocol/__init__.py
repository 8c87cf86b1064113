"""PURE. The wire contract: topics, positions, changes, publications, messages and codes.

Nothing here waits, reads a clock, logs or talks to a server.
"""
