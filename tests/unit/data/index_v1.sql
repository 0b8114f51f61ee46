-- An index of version 1 (user_version = 1) as whend 0.1.0 left it: what test_index_versions brings up to date.
-- Never changed: a later version gets a file of its own, made from its steps before the next one is added.
PRAGMA application_id = 2003330414;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE daemon (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, last_sequence INTEGER NOT NULL, clean
  INTEGER NOT NULL, created_us INTEGER NOT NULL) STRICT;
CREATE TABLE revisions (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL, revision INTEGER NOT NULL CHECK (revision >
  0), state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3), camera TEXT NOT NULL, watch TEXT NOT NULL, description
  TEXT NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, start_err_us INTEGER NOT NULL, end_err_us INTEGER
  NOT NULL, confidence REAL NOT NULL, committed_us INTEGER NOT NULL, UNIQUE (id, revision), CHECK (start_us <=
  end_us)) STRICT;
CREATE TABLE events (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, number INTEGER NOT NULL, revision INTEGER NOT
  NULL, state INTEGER NOT NULL, camera TEXT NOT NULL, watch TEXT NOT NULL, description TEXT NOT NULL, start_us INTEGER
  NOT NULL, end_us INTEGER NOT NULL, start_err_us INTEGER NOT NULL, end_err_us INTEGER NOT NULL, confidence REAL NOT
  NULL, sequence INTEGER NOT NULL UNIQUE REFERENCES revisions (sequence), committed_us INTEGER NOT NULL, CHECK
  (start_us <= end_us)) STRICT;
CREATE INDEX events_start ON events (start_us);
CREATE INDEX events_length ON events (end_us - start_us);
CREATE INDEX events_number ON events (number);
CREATE INDEX events_open ON events (start_us) WHERE state = 1;
CREATE VIRTUAL TABLE event_text USING fts5 (description, content = 'events', content_rowid = 'key',
  tokenize = 'porter unicode61 remove_diacritics 2');
CREATE TRIGGER events_added AFTER INSERT ON events BEGIN INSERT INTO event_text (rowid, description) VALUES (new.key,
  new.description); END;
CREATE TRIGGER events_changed AFTER UPDATE OF description ON events WHEN old.description <> new.description BEGIN
  INSERT INTO event_text (event_text, rowid, description) VALUES ('delete', old.key, old.description); INSERT INTO
  event_text (rowid, description) VALUES (new.key, new.description); END;
CREATE TABLE watches (name TEXT PRIMARY KEY, question TEXT NOT NULL, words TEXT NOT NULL) STRICT;
CREATE INDEX watches_words ON watches (words);
CREATE TABLE ledger (key INTEGER PRIMARY KEY, camera TEXT NOT NULL, watch TEXT NOT NULL, start_us INTEGER NOT NULL,
  end_us INTEGER NOT NULL, state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3), fps REAL NOT NULL, model TEXT NOT
  NULL, reason TEXT NOT NULL, CHECK (start_us < end_us)) STRICT;
CREATE UNIQUE INDEX ledger_start ON ledger (camera, watch, start_us);
CREATE INDEX ledger_state ON ledger (state, start_us);
CREATE TABLE recordings (path TEXT PRIMARY KEY, camera TEXT NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT
  NULL, utc_err_us INTEGER NOT NULL, utc_source INTEGER NOT NULL, bytes INTEGER NOT NULL, CHECK (start_us <= end_us))
  STRICT;
CREATE INDEX recordings_start ON recordings (camera, start_us);
CREATE INDEX recordings_length ON recordings (camera, end_us - start_us);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE VIEW events_utc AS SELECT id, revision, CASE state WHEN 1 THEN 'open' WHEN 2 THEN 'final' ELSE 'retracted' END
  AS state, camera, watch, description, strftime('%Y-%m-%dT%H:%M:%fZ', start_us / 1e6, 'unixepoch') AS start_utc,
  strftime('%Y-%m-%dT%H:%M:%fZ', end_us / 1e6, 'unixepoch') AS end_utc, start_err_us / 1e6 AS start_err_s, end_err_us
  / 1e6 AS end_err_s, confidence, sequence FROM events;
CREATE VIEW ledger_utc AS SELECT camera, watch, strftime('%Y-%m-%dT%H:%M:%fZ', start_us / 1e6, 'unixepoch') AS
  start_utc, strftime('%Y-%m-%dT%H:%M:%fZ', end_us / 1e6, 'unixepoch') AS end_utc, CASE state WHEN 1 THEN 'waiting'
  WHEN 2 THEN 'examined' ELSE 'lost' END AS state, fps, model, reason FROM ledger;
INSERT INTO daemon VALUES (1, '0bad0bad-0000-4000-8000-00000000cafe', 6, 0, 1767594000000000);
INSERT INTO revisions VALUES (1, 'e-1', 1, 1, 'gate', 'red-car', 'a red car drives past', 1767594600000000, 1767594604000000, 250000, 250000, 0.5, 1767594605000000);
INSERT INTO revisions VALUES (2, 'e-1', 2, 2, 'gate', 'red-car', 'a red car drives past the gate', 1767594600000000, 1767594606000000, 250000, 250000, 0.9, 1767594607000000);
INSERT INTO revisions VALUES (3, 'e-2', 1, 2, 'yard', 'dog', 'a brown dog runs', 1767594500000000, 1767594510000000, 250000, 250000, 0.75, 1767594608000000);
INSERT INTO revisions VALUES (4, 'e-2', 2, 3, 'yard', 'dog', 'a brown dog runs', 1767594500000000, 1767594510000000, 250000, 250000, 0.75, 1767594609000000);
INSERT INTO revisions VALUES (5, 'e-3', 1, 1, 'yard', 'dog', 'a white dog sits', 1767594600000000, 1767680999000000, 250000, 250000, 0.6, 1767681000000000);
INSERT INTO revisions VALUES (6, 'e-12', 1, 2, 'gate', 'red-car', 'a red van is parked', 1767500000000000, 1767510000000000, 250000, 250000, 0.6, 1767681001000000);
INSERT INTO events (key, id, number, revision, state, camera, watch, description, start_us, end_us, start_err_us, end_err_us, confidence, sequence, committed_us)
  SELECT sequence, id, CAST(substr(id, 3) AS INTEGER), revision, state, camera, watch, description, start_us, end_us, start_err_us, end_err_us, confidence, sequence, committed_us
  FROM revisions WHERE sequence IN (SELECT max(sequence) FROM revisions GROUP BY id);
INSERT INTO watches VALUES ('red-car', 'When does a red car drive past?', 'car drive past red');
INSERT INTO watches VALUES ('dog', 'When is a dog in the yard?', 'dog yard');
INSERT INTO ledger (camera, watch, start_us, end_us, state, fps, model, reason) VALUES ('gate', 'red-car', 1767594600000000, 1767681000000000, 2, 2.0, 'demo', '');
INSERT INTO ledger (camera, watch, start_us, end_us, state, fps, model, reason) VALUES ('gate', 'red-car', 1767681000000000, 1767681060000000, 1, 0.0, '', 'worker restarted');
INSERT INTO ledger (camera, watch, start_us, end_us, state, fps, model, reason) VALUES ('yard', 'dog', 1767594600000000, 1767594700000000, 3, 0.0, '', 'no recording of it');
INSERT INTO recordings VALUES ('/var/lib/whend/recordings/gate/20260105T063000.000Z.mp4', 'gate', 1767594600000000, 1767594660000000, 1000, 1, 123456);
INSERT INTO facts VALUES ('file/yard', '{"done":true}');
COMMIT;
