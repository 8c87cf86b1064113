"""The relay: reads what is committed from the log and hands it to Redis, in order, each change encoded once.

Of several relays one leads; the others stand by. The way that a change takes: `listener` (a hint), `leading` (turns),
`outbox` (what is new, and its changes), `backlog` (whose turn it is), `bundle` (publications), `publisher` (Redis),
`positions` (how far). `leadership` says who may, `maintenance` keeps the log's partitions.
"""
