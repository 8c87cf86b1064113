"""The gateway: holds the browsers' sockets and fans the log out to them. `gateway.relay` is a process of
its own.
"""
