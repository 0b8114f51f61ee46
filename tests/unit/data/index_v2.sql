-- An index of version 2 (user_version = 2): that of index_v1.sql, brought up to date, and a client. Never changed.
PRAGMA application_id = 2003330414;
PRAGMA user_version = 2;
PRAGMA journal_mode = WAL;
PRAGMA foreign_keys = OFF;
BEGIN TRANSACTION;
CREATE TABLE daemon (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, last_sequence INTEGER NOT NULL, clean
  INTEGER NOT NULL, created_us INTEGER NOT NULL) STRICT;
INSERT INTO daemon VALUES(1,'0bad0bad-0000-4000-8000-00000000cafe',6,0,1767594000000000);
CREATE TABLE revisions (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL, revision INTEGER NOT NULL CHECK (revision >
  0), state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3), camera TEXT NOT NULL, watch TEXT NOT NULL, description
  TEXT NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, start_err_us INTEGER NOT NULL, end_err_us INTEGER
  NOT NULL, confidence REAL NOT NULL, committed_us INTEGER NOT NULL, UNIQUE (id, revision), CHECK (start_us <=
  end_us)) STRICT;
INSERT INTO revisions VALUES(1,'e-1',1,1,'gate','red-car','a red car drives past',1767594600000000,1767594604000000,250000,250000,0.5,1767594605000000);
INSERT INTO revisions VALUES(2,'e-1',2,2,'gate','red-car','a red car drives past the gate',1767594600000000,1767594606000000,250000,250000,0.9000000000000000222,1767594607000000);
INSERT INTO revisions VALUES(3,'e-2',1,2,'yard','dog','a brown dog runs',1767594500000000,1767594510000000,250000,250000,0.75,1767594608000000);
INSERT INTO revisions VALUES(4,'e-2',2,3,'yard','dog','a brown dog runs',1767594500000000,1767594510000000,250000,250000,0.75,1767594609000000);
INSERT INTO revisions VALUES(5,'e-3',1,1,'yard','dog','a white dog sits',1767594600000000,1767680999000000,250000,250000,0.59999999999999997779,1767681000000000);
INSERT INTO revisions VALUES(6,'e-12',1,2,'gate','red-car','a red van is parked',1767500000000000,1767510000000000,250000,250000,0.59999999999999997779,1767681001000000);
CREATE TABLE watches (name TEXT PRIMARY KEY, question TEXT NOT NULL, words TEXT NOT NULL) STRICT;
INSERT INTO watches VALUES('red-car','When does a red car drive past?','car drive past red');
INSERT INTO watches VALUES('dog','When is a dog in the yard?','dog yard');
CREATE TABLE ledger (key INTEGER PRIMARY KEY, camera TEXT NOT NULL, watch TEXT NOT NULL, start_us INTEGER NOT NULL,
  end_us INTEGER NOT NULL, state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3), fps REAL NOT NULL, model TEXT NOT
  NULL, reason TEXT NOT NULL, CHECK (start_us < end_us)) STRICT;
INSERT INTO ledger VALUES(1,'gate','red-car',1767594600000000,1767681000000000,2,2.0,'demo','');
INSERT INTO ledger VALUES(2,'gate','red-car',1767681000000000,1767681060000000,1,0.0,'','worker restarted');
INSERT INTO ledger VALUES(3,'yard','dog',1767594600000000,1767594700000000,3,0.0,'','no recording of it');
CREATE TABLE recordings (path TEXT PRIMARY KEY, camera TEXT NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT
  NULL, utc_err_us INTEGER NOT NULL, utc_source INTEGER NOT NULL, bytes INTEGER NOT NULL, CHECK (start_us <= end_us))
  STRICT;
INSERT INTO recordings VALUES('/var/lib/whend/recordings/gate/20260105T063000.000Z.mp4','gate',1767594600000000,1767594660000000,1000,1,123456);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO facts VALUES('file/yard','{"done":true}');
CREATE TABLE IF NOT EXISTS "events" (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, number INTEGER NOT NULL, revision INTEGER NOT NULL, state INTEGER NOT NULL, camera TEXT NOT NULL, watch TEXT NOT NULL, description TEXT NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, start_err_us INTEGER NOT NULL, end_err_us INTEGER NOT NULL, confidence REAL NOT NULL, sequence INTEGER NOT NULL UNIQUE REFERENCES revisions (sequence), committed_us INTEGER NOT NULL, CHECK (start_us <= end_us)) STRICT;
INSERT INTO events VALUES(904960000000000000,'e-12',12,1,2,'gate','red-car','a red van is parked',1767500000000000,1767510000000000,250000,250000,0.59999999999999997779,6,1767681001000000);
INSERT INTO events VALUES(905008384000000000,'e-2',2,2,3,'yard','dog','a brown dog runs',1767594500000000,1767594510000000,250000,250000,0.75,4,1767594609000000);
INSERT INTO events VALUES(905008435200000000,'e-1',1,2,2,'gate','red-car','a red car drives past the gate',1767594600000000,1767594606000000,250000,250000,0.9000000000000000222,2,1767594607000000);
INSERT INTO events VALUES(905008435200000001,'e-3',3,1,1,'yard','dog','a white dog sits',1767594600000000,1767680999000000,250000,250000,0.59999999999999997779,5,1767681000000000);
PRAGMA writable_schema=ON;
INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','event_text','event_text',0,'CREATE VIRTUAL TABLE event_text USING fts5 (description, watch, content = ''events'', content_rowid = ''key'', tokenize = ''porter unicode61 remove_diacritics 2'')');
CREATE TABLE IF NOT EXISTS 'event_text_data'(id INTEGER PRIMARY KEY, block BLOB);
INSERT INTO event_text_data VALUES(1,X'041406');
INSERT INTO event_text_data VALUES(10,X'000000000101010001010101');
INSERT INTO event_text_data VALUES(137438953473,X'0000013502306186a3e2859a9fe0800002028b8094b9888000020281bede8880000202010202010562726f776e86a3e7c5a4bca480000203010363617286a3e2859a9fe08000060101038b81d39790800008040101030103646f6786a3e7c5a4bca48000080401010281bede888001080401010202047269766586a3e7c683eba88000020501046761746586a3e7c683eba8800002080102697386a3e2859a9fe08000020501047061726b86a3e2859a9fe0800002060302737486a3e7c683eba880000206010372656486a3e2859a9fe0800008030101028b81d39790800008030101020202756e86a3e7c5a4bca480000205010373697486a3e7c683eba880010205010374686586a3e7c683eba880000207010376616e86a3e2859a9fe0800002040105776869746586a3e7c683eba8800102030422121e1e11110f110f1f0f101010');
CREATE TABLE IF NOT EXISTS 'event_text_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID;
INSERT INTO event_text_idx VALUES(1,X'',2);
CREATE TABLE IF NOT EXISTS 'event_text_docsize'(id INTEGER PRIMARY KEY, sz BLOB);
INSERT INTO event_text_docsize VALUES(904960000000000000,X'0502');
INSERT INTO event_text_docsize VALUES(905008384000000000,X'0401');
INSERT INTO event_text_docsize VALUES(905008435200000000,X'0702');
INSERT INTO event_text_docsize VALUES(905008435200000001,X'0401');
CREATE TABLE IF NOT EXISTS 'event_text_config'(k PRIMARY KEY, v) WITHOUT ROWID;
INSERT INTO event_text_config VALUES('version',4);
CREATE TABLE clients (name TEXT PRIMARY KEY, public_key TEXT NOT NULL UNIQUE, added_us INTEGER NOT NULL) STRICT;
INSERT INTO clients VALUES('alice','rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7',1767594000000000);
CREATE INDEX watches_words ON watches (words);
CREATE UNIQUE INDEX ledger_start ON ledger (camera, watch, start_us);
CREATE INDEX ledger_state ON ledger (state, start_us);
CREATE INDEX recordings_start ON recordings (camera, start_us);
CREATE INDEX recordings_length ON recordings (camera, end_us - start_us);
CREATE VIEW ledger_utc AS SELECT camera, watch, strftime('%Y-%m-%dT%H:%M:%fZ', start_us / 1e6, 'unixepoch') AS
  start_utc, strftime('%Y-%m-%dT%H:%M:%fZ', end_us / 1e6, 'unixepoch') AS end_utc, CASE state WHEN 1 THEN 'waiting'
  WHEN 2 THEN 'examined' ELSE 'lost' END AS state, fps, model, reason FROM ledger;
CREATE INDEX events_length ON events (end_us - start_us);
CREATE INDEX events_number ON events (number);
CREATE INDEX events_open ON events (start_us) WHERE state = 1;
CREATE TRIGGER events_added AFTER INSERT ON events BEGIN INSERT INTO event_text (rowid, description, watch) VALUES (new.key, new.description, new.watch); END;
CREATE TRIGGER events_changed AFTER UPDATE OF key, description, watch ON events WHEN old.key <> new.key OR old.description <> new.description OR old.watch <> new.watch BEGIN INSERT INTO event_text (event_text, rowid, description, watch) VALUES ('delete', old.key, old.description, old.watch); INSERT INTO event_text (rowid, description, watch) VALUES (new.key, new.description, new.watch); END;
CREATE TRIGGER events_removed AFTER DELETE ON events BEGIN INSERT INTO event_text (event_text, rowid, description, watch) VALUES ('delete', old.key, old.description, old.watch); END;
CREATE VIEW events_utc AS SELECT id, revision, CASE state WHEN 1 THEN 'open' WHEN 2 THEN 'final' ELSE 'retracted' END AS state, camera, watch, description, strftime('%Y-%m-%dT%H:%M:%fZ', start_us / 1e6, 'unixepoch') AS start_utc, strftime('%Y-%m-%dT%H:%M:%fZ', end_us / 1e6, 'unixepoch') AS end_utc, start_err_us / 1e6 AS start_err_s, end_err_us / 1e6 AS end_err_s, confidence, sequence FROM events;
CREATE VIEW coverage_by_day AS WITH RECURSIVE parts (camera, watch, state, day, start_us, end_us) AS (SELECT camera, watch, state, (start_us - (start_us % 86400000000 + 86400000000) % 86400000000) / 86400000000, start_us, end_us FROM ledger UNION ALL SELECT camera, watch, state, day + 1, (day + 1) * 86400000000, end_us FROM parts WHERE (day + 1) * 86400000000 < end_us) SELECT camera, watch, date(day * 86400, 'unixepoch') AS day, sum(iif(state = 2, min(end_us, (day + 1) * 86400000000) - start_us, 0)) / 1e6 AS examined_s, sum(iif(state = 1, min(end_us, (day + 1) * 86400000000) - start_us, 0)) / 1e6 AS waiting_s, sum(iif(state = 3, min(end_us, (day + 1) * 86400000000) - start_us, 0)) / 1e6 AS lost_s FROM parts GROUP BY camera, watch, day;
PRAGMA writable_schema=OFF;
COMMIT;
