"""The databases of every earlier acoustic-ad, with a row in every table that counts, as SQL."""

# As schema 1 was made.
SCHEMA_1 = """
CREATE TABLE alarms (
    id INTEGER NOT NULL,
    machine TEXT NOT NULL,
    level TEXT NOT NULL,
    raised_at TEXT NOT NULL,
    cleared_at TEXT,
    acknowledged_at TEXT,
    "by" TEXT,
    comment TEXT,
    shelved_until TEXT,
    PRIMARY KEY (id)
);
CREATE TABLE clip_scores (
    id INTEGER NOT NULL,
    clip_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    sha256 TEXT,
    model TEXT,
    score DOUBLE,
    p_value DOUBLE,
    status TEXT NOT NULL,
    reason TEXT,
    bands TEXT NOT NULL,
    recorded_at_source TEXT NOT NULL,
    label TEXT NOT NULL,
    "index" DOUBLE,
    detail TEXT,
    also_known_as TEXT NOT NULL,
    duration_s DOUBLE,
    level_db DOUBLE,
    root TEXT NOT NULL,
    scored_at TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT clip_identity UNIQUE (sha256, machine, model),
    CONSTRAINT known_status CHECK (status IN ('scored', 'failed', 'off', 'sensor_fault')),
    CONSTRAINT judged_by_a_model CHECK ((status = 'failed') = (model IS NULL)),
    CONSTRAINT judged_bytes CHECK (status = 'failed' OR sha256 IS NOT NULL),
    FOREIGN KEY(run_id) REFERENCES runs (id)
);
CREATE TABLE files (
    root TEXT NOT NULL,
    clip_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    size BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    ctime_ns BIGINT NOT NULL,
    sha256 TEXT,
    outcome TEXT NOT NULL,
    reason TEXT,
    PRIMARY KEY (root, clip_id, machine)
);
CREATE TABLE machines (
    machine TEXT NOT NULL,
    state TEXT NOT NULL,
    since TEXT,
    "index" DOUBLE,
    clips INTEGER NOT NULL,
    last_clip_at TEXT,
    model TEXT,
    facts TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (machine)
);
CREATE TABLE runs (
    id INTEGER NOT NULL,
    root TEXT NOT NULL,
    arguments TEXT NOT NULL,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    exit_code INTEGER,
    counts TEXT,
    PRIMARY KEY (id)
);
CREATE TABLE schema_version (
    version INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(1);
CREATE INDEX alarms_by_machine ON alarms (machine, raised_at);
CREATE INDEX clips_by_time ON clip_scores (machine, recorded_at);
CREATE UNIQUE INDEX one_failed_row ON clip_scores (root, clip_id, machine) WHERE status = 'failed';
"""
ROWS_1 = """
INSERT INTO runs VALUES (1, '/plant', '{}', '0.1', 'host', 1, '2026-01-05T12:00:00.000000Z', NULL, NULL, NULL);
INSERT INTO clip_scores VALUES (1, 'a.wav', 'fan', '2026-01-05T12:00:00.000000Z', 'ab', 'model-1', 1.5, 0.25, 'scored',
    NULL, '[]', 'name', 'unknown', 20.0, NULL, '[]', 10.0, -28.0, '/plant', '2026-01-05T12:01:00.000000Z', 1);
INSERT INTO files VALUES ('/plant', 'a.wav', 'fan', 10, 1, 1, 'ab', 'scored', NULL);
INSERT INTO machines VALUES ('fan', 'warning', '2026-01-05T12:00:00.000000Z', 20.0, 1, '2026-01-05T12:00:00.000000Z',
    'model-1', '{"heard": "warning", "stands_out": "+9 dB around 3.4 kHz"}', '2026-01-05T12:01:00.000000Z');
INSERT INTO alarms VALUES (7, 'fan', 'alarm', '2026-01-05T12:00:00.000000Z', NULL, NULL, NULL, NULL, NULL);
"""

# As schema 2 was made.
SCHEMA_2 = """
CREATE TABLE alarms (
    id INTEGER NOT NULL,
    machine TEXT NOT NULL,
    level TEXT NOT NULL,
    raised_at TEXT NOT NULL,
    cleared_at TEXT,
    acknowledged_at TEXT,
    "by" TEXT,
    comment TEXT,
    shelved_until TEXT,
    "key" TEXT DEFAULT '' NOT NULL,
    state TEXT DEFAULT '' NOT NULL,
    "index" DOUBLE,
    facts TEXT DEFAULT '{}' NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE alarm_actions (
    id INTEGER NOT NULL,
    alarm INTEGER NOT NULL,
    machine TEXT NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    "by" TEXT NOT NULL,
    comment TEXT NOT NULL,
    until TEXT,
    PRIMARY KEY (id),
    CONSTRAINT known_action CHECK (kind IN ('ack', 'shelve', 'unshelve')),
    FOREIGN KEY(alarm) REFERENCES alarms (id)
);
CREATE TABLE events (
    id INTEGER NOT NULL,
    machine TEXT NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    note TEXT NOT NULL,
    "by" TEXT NOT NULL,
    entered_at TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT known_event CHECK (kind IN ('maintenance', 'false-alarm', 'confirmed-fault'))
);
CREATE TABLE clip_scores (
    id INTEGER NOT NULL,
    clip_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    sha256 TEXT,
    model TEXT,
    score DOUBLE,
    p_value DOUBLE,
    status TEXT NOT NULL,
    reason TEXT,
    bands TEXT NOT NULL,
    recorded_at_source TEXT NOT NULL,
    label TEXT NOT NULL,
    "index" DOUBLE,
    detail TEXT,
    also_known_as TEXT NOT NULL,
    duration_s DOUBLE,
    level_db DOUBLE,
    root TEXT NOT NULL,
    scored_at TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT clip_identity UNIQUE (sha256, machine, model),
    CONSTRAINT known_status CHECK (status IN ('scored', 'failed', 'off', 'sensor_fault')),
    CONSTRAINT judged_by_a_model CHECK ((status = 'failed') = (model IS NULL)),
    CONSTRAINT judged_bytes CHECK (status = 'failed' OR sha256 IS NOT NULL),
    FOREIGN KEY(run_id) REFERENCES runs (id)
);
CREATE TABLE files (
    root TEXT NOT NULL,
    clip_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    size BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    ctime_ns BIGINT NOT NULL,
    sha256 TEXT,
    outcome TEXT NOT NULL,
    reason TEXT,
    recorded_at TEXT,
    PRIMARY KEY (root, clip_id, machine)
);
CREATE TABLE machines (
    machine TEXT NOT NULL,
    state TEXT NOT NULL,
    since TEXT,
    "index" DOUBLE,
    clips INTEGER NOT NULL,
    last_clip_at TEXT,
    model TEXT,
    facts TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (machine)
);
CREATE TABLE runs (
    id INTEGER NOT NULL,
    root TEXT NOT NULL,
    arguments TEXT NOT NULL,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    exit_code INTEGER,
    counts TEXT,
    PRIMARY KEY (id)
);
CREATE TABLE schema_version (
    version INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(2);
CREATE INDEX actions_by_alarm ON alarm_actions (alarm);
CREATE INDEX events_by_machine ON events (machine, at);
CREATE INDEX files_of_broken_sensors ON files (machine) WHERE outcome = 'sensor_fault';
CREATE INDEX alarms_by_machine ON alarms (machine, raised_at);
CREATE INDEX clips_by_time ON clip_scores (machine, recorded_at);
CREATE UNIQUE INDEX one_failed_row ON clip_scores (root, clip_id, machine) WHERE status = 'failed';
"""
ROWS_2 = """
INSERT INTO runs VALUES (1, '/plant', '{}', '0.1', 'host', 1, '2026-01-05T12:00:00.000000Z', NULL, NULL, NULL);
INSERT INTO clip_scores VALUES (1, 'a.wav', 'fan', '2026-01-05T12:00:00.000000Z', 'ab', 'model-1', 1.5, 0.25, 'scored',
    NULL, '[]', 'name', 'unknown', 20.0, NULL, '[]', 10.0, -28.0, '/plant', '2026-01-05T12:01:00.000000Z', 1);
INSERT INTO files VALUES ('/plant', 'a.wav', 'fan', 10, 1, 1, 'ab', 'scored', NULL, NULL);
INSERT INTO machines VALUES ('fan', 'warning', '2026-01-05T12:00:00.000000Z', 20.0, 1, '2026-01-05T12:00:00.000000Z',
    'model-1', '{"heard": "warning", "stands_out": "+9 dB around 3.4 kHz"}', '2026-01-05T12:01:00.000000Z');
INSERT INTO alarms VALUES (7, 'fan', 'alarm', '2026-01-05T12:00:00.000000Z', NULL, NULL, NULL, NULL, NULL,
    'key', 'unacknowledged', 90.0, '{}');
"""

# Schema 3 only had one table more.
OUTBOX_OF_3 = """
CREATE TABLE outbox (
    id INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    target TEXT NOT NULL,
    subject TEXT NOT NULL,
    number INTEGER NOT NULL,
    machine TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    last_error TEXT,
    claimed_until TEXT,
    sent_at TEXT,
    given_up_at TEXT,
    PRIMARY KEY (id),
    CONSTRAINT one_message_a_change UNIQUE (target, subject, number),
    UNIQUE (message_id)
);
CREATE INDEX outbox_by_machine ON outbox (machine, target);
UPDATE schema_version SET version = 3;
"""

# Schema 4 had one more, and a column.
DAYS_OF_4 = """
CREATE TABLE machine_days (
    machine TEXT NOT NULL,
    day TEXT NOT NULL,
    scored INTEGER NOT NULL,
    off INTEGER NOT NULL,
    sensor_fault INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    score_median DOUBLE,
    score_max DOUBLE,
    p_value_min DOUBLE,
    level_db_median DOUBLE,
    trace BLOB NOT NULL,
    pruned_at TEXT NOT NULL,
    PRIMARY KEY (machine, day)
);
ALTER TABLE files ADD COLUMN pruned_at TEXT;
UPDATE schema_version SET version = 4;
"""

# Schema 5 had one table more.
LIMITS_OF_5 = """
CREATE TABLE found_limits (
    kind TEXT NOT NULL,
    limits TEXT NOT NULL,
    PRIMARY KEY (kind)
);
UPDATE schema_version SET version = 5;
"""

# Schema 6 had one table more, and an index.
CLIPS_OF_6 = """
CREATE TABLE kept_clips (
    machine TEXT NOT NULL,
    part INTEGER NOT NULL,
    clips INTEGER NOT NULL,
    until INTEGER NOT NULL,
    rows BIGINT NOT NULL,
    ids BIGINT NOT NULL,
    days INTEGER NOT NULL,
    pruned_at TEXT,
    data BLOB NOT NULL,
    PRIMARY KEY (machine, part)
);
CREATE INDEX failed_by_machine ON clip_scores (machine) WHERE status = 'failed';
UPDATE schema_version SET version = 6;
"""

OLD = {
    1: SCHEMA_1 + ROWS_1,
    2: SCHEMA_2 + ROWS_2,
    3: SCHEMA_2 + ROWS_2 + OUTBOX_OF_3,
    4: SCHEMA_2 + ROWS_2 + OUTBOX_OF_3 + DAYS_OF_4,
    5: SCHEMA_2 + ROWS_2 + OUTBOX_OF_3 + DAYS_OF_4 + LIMITS_OF_5,
    6: SCHEMA_2 + ROWS_2 + OUTBOX_OF_3 + DAYS_OF_4 + LIMITS_OF_5 + CLIPS_OF_6,
}
