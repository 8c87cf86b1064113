"""The HTTP API: validates, authorises, commits. Knows nothing of sockets."""
