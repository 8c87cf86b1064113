-- What may not be lost. Each commit is on the disk before it counts.

-- name: create_meta
-- Single values: the client's id, its clock, whose store this is.
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- name: create_queue
-- Writes that have no answer, or whose effect is not in every copy yet.
CREATE TABLE IF NOT EXISTS queue (
  mutation_id TEXT PRIMARY KEY,
  sequence INTEGER NOT NULL,
  mutation TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  was_sent INTEGER NOT NULL DEFAULT 0,
  written TEXT,
  answer TEXT
) WITHOUT ROWID;

-- name: create_inbox
-- Refused writes, for their author to decide on.
CREATE TABLE IF NOT EXISTS inbox (mutation_id TEXT PRIMARY KEY, entry TEXT NOT NULL) WITHOUT ROWID;

-- name: create_losses
-- Values that others have replaced, until their author has seen it.
CREATE TABLE IF NOT EXISTS losses (id TEXT PRIMARY KEY, loss TEXT NOT NULL) WITHOUT ROWID;

-- name: put_meta
-- Set a single value.
INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: get_meta
-- All single values.
SELECT name, value FROM meta;

-- name: put_queued
-- Add a write, or change what is known of it.
INSERT INTO queue (mutation_id, sequence, mutation, attempts, was_sent, written, answer)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (mutation_id) DO UPDATE SET
  mutation = excluded.mutation, attempts = excluded.attempts, was_sent = excluded.was_sent,
  written = excluded.written, answer = excluded.answer;

-- name: get_queued
-- All writes, in their order.
SELECT sequence, mutation, attempts, was_sent, written, answer FROM queue ORDER BY sequence;

-- name: delete_queued
-- Remove a write.
DELETE FROM queue WHERE mutation_id = ?;

-- name: put_inbox
-- Add an entry to the inbox.
INSERT INTO inbox VALUES (?, ?) ON CONFLICT (mutation_id) DO UPDATE SET entry = excluded.entry;

-- name: get_inbox
-- The inbox.
SELECT entry FROM inbox;

-- name: delete_inbox
-- Remove an entry of the inbox.
DELETE FROM inbox WHERE mutation_id = ?;

-- name: put_loss
-- Add a loss.
INSERT INTO losses VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET loss = excluded.loss;

-- name: get_losses
-- All losses.
SELECT loss FROM losses;

-- name: delete_loss
-- Remove a loss.
DELETE FROM losses WHERE id = ?;
