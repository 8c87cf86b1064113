-- Copies of what the server has. The newest commits may be missing after a power cut, with their positions.

-- name: create_topics
-- Up to where each topic is kept.
CREATE TABLE IF NOT EXISTS topics (
  topic TEXT PRIMARY KEY,
  collection TEXT NOT NULL,
  epoch TEXT NOT NULL,
  log_offset INTEGER NOT NULL,
  view TEXT NOT NULL,
  used_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- name: create_records
-- The records of each topic, as the server encodes them.
CREATE TABLE IF NOT EXISTS records (
  topic TEXT NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (topic, id)
) WITHOUT ROWID;

-- name: put_topic
-- Say up to where a topic is kept.
INSERT INTO topics VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (topic) DO UPDATE SET epoch = excluded.epoch, log_offset = excluded.log_offset,
  view = excluded.view, used_at_ms = excluded.used_at_ms;

-- name: get_topic
-- Up to where a topic is kept.
SELECT epoch, log_offset, view FROM topics WHERE topic = ?;

-- name: get_topics
-- Up to where every topic is kept.
SELECT topic, collection, epoch, log_offset FROM topics;

-- name: get_unused_topics
-- Topics that were not written since a time.
SELECT topic FROM topics WHERE used_at_ms < ?;

-- name: delete_topic
-- Forget a topic.
DELETE FROM topics WHERE topic = ?;

-- name: put_record
-- Keep a record of a topic.
INSERT INTO records VALUES (?, ?, ?) ON CONFLICT (topic, id) DO UPDATE SET record = excluded.record;

-- name: get_records
-- The records of a topic.
SELECT record FROM records WHERE topic = ?;

-- name: delete_record
-- Forget a record of a topic.
DELETE FROM records WHERE topic = ? AND id = ?;

-- name: delete_records
-- Forget the records of a topic.
DELETE FROM records WHERE topic = ?;
