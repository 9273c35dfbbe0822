-- The tables and views of class.db. Every statement leaves alone what exists: a class.db of an earlier version is
-- completed by running this file, after the columns that it lacks were added (ADDED_COLUMNS in sqlite.py).

-- With row numbers: ids are digests, so WITHOUT ROWID would write every row to a page of its own.
CREATE TABLE IF NOT EXISTS result(
  request_id TEXT PRIMARY KEY, kind TEXT NOT NULL, level INTEGER NOT NULL, round INTEGER NOT NULL,
  agent TEXT NOT NULL, tp TEXT NOT NULL, tr TEXT NOT NULL, ep TEXT NOT NULL, repeat INTEGER NOT NULL,
  text TEXT NOT NULL, answer TEXT, failed TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, cacheable_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  seconds REAL NOT NULL, finish_reason TEXT NOT NULL, at TEXT NOT NULL,
  stage TEXT NOT NULL, detail TEXT NOT NULL, weights TEXT NOT NULL, score REAL, temperature REAL,
  thought_tokens INTEGER NOT NULL DEFAULT 0, prompt INTEGER,
  behaviour TEXT NOT NULL DEFAULT '', hidden REAL, failing TEXT NOT NULL DEFAULT '');

-- Prompts: prompts.py says how. Each distinct text is kept once; a turn names the one before it (0: none).
CREATE TABLE IF NOT EXISTS prompt_text(id INTEGER PRIMARY KEY, text TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS prompt_turn(
  id INTEGER PRIMARY KEY, before INTEGER NOT NULL, role TEXT NOT NULL, text INTEGER NOT NULL);

CREATE TABLE IF NOT EXISTS grade(
  request_id TEXT NOT NULL, grader TEXT NOT NULL, version TEXT NOT NULL, value REAL NOT NULL,
  seq INTEGER PRIMARY KEY, UNIQUE(request_id, grader, version));

CREATE TABLE IF NOT EXISTS event(
  seq INTEGER PRIMARY KEY, at TEXT NOT NULL, agent TEXT NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS problem(
  id TEXT PRIMARY KEY, item INTEGER NOT NULL, position INTEGER NOT NULL,
  text TEXT NOT NULL, answer TEXT NOT NULL, form TEXT NOT NULL, solution TEXT NOT NULL,
  part TEXT NOT NULL, level TEXT NOT NULL DEFAULT '', subject TEXT NOT NULL DEFAULT '',
  program TEXT NOT NULL DEFAULT '') WITHOUT ROWID;

-- How near exam problems that were retrieved are to their TP, the nearest first; also of a TP without exams.
CREATE TABLE IF NOT EXISTS exam_similarity(
  tp TEXT NOT NULL, rank INTEGER NOT NULL, similarity REAL NOT NULL, PRIMARY KEY(tp, rank)) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS labelled(source TEXT NOT NULL, description TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS total(stage TEXT PRIMARY KEY, requests INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS demonstration(seq INTEGER PRIMARY KEY, problem TEXT NOT NULL, rationale TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS source(text TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS answerer(agent TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS result_by_stage ON result(stage, agent);

CREATE INDEX IF NOT EXISTS result_by_tr ON result(tr) WHERE tr <> '';

CREATE VIEW IF NOT EXISTS latest_grade AS
  SELECT request_id, value FROM grade g WHERE seq = (SELECT max(seq) FROM grade WHERE request_id = g.request_id);

CREATE VIEW IF NOT EXISTS teaching_rationale AS
  SELECT r.request_id, tp, repeat, agent AS teacher, text, answer, CAST(value AS INTEGER) AS correct
  FROM result r LEFT JOIN latest_grade USING(request_id)
  WHERE kind = 'Teach' AND stage = 'teach' AND failed = '';

CREATE VIEW IF NOT EXISTS exam_answer AS
  SELECT r.request_id, tp, tr, ep, repeat, agent AS student, text, answer, CAST(value AS INTEGER) AS correct, stage
  FROM result r LEFT JOIN latest_grade USING(request_id)
  WHERE kind = 'Examine' AND failed = '';

-- The same score as lbt_score in scoring/lbt.py, of one student; tests/scenarios/store compares them.
-- A repaired answer (exam_repair) was wrong before, so it counts only where it is right.
CREATE VIEW IF NOT EXISTS lbt_score AS
  SELECT t.request_id AS tr, e.student,
         CAST(sum(e.correct) AS REAL) / count(*) FILTER (WHERE e.stage <> 'exam_repair') AS score,
         count(*) FILTER (WHERE e.stage <> 'exam_repair') AS n
  FROM teaching_rationale t
  JOIN result same ON same.kind = 'Teach' AND same.stage <> 'repair' AND same.tp = t.tp AND same.text = t.text
  JOIN exam_answer e ON e.tr = same.request_id
  GROUP BY t.request_id, e.student;

-- For which arm, run and round of level 3 a result was wanted; one result may serve several.
CREATE TABLE IF NOT EXISTS asked(
  request_id TEXT NOT NULL, arm TEXT NOT NULL, run INTEGER NOT NULL, round INTEGER NOT NULL, agent TEXT NOT NULL,
  stage TEXT NOT NULL, PRIMARY KEY(request_id, arm, run, round, agent, stage)) WITHOUT ROWID;

CREATE VIEW IF NOT EXISTS set_answer AS
  SELECT a.arm, a.run, a.round, a.agent, a.stage, r.tr AS exemplar_set, r.ep AS item, r.request_id, r.text, r.answer,
         CAST(value AS INTEGER) AS correct
  FROM asked a JOIN result r USING(request_id) LEFT JOIN latest_grade USING(request_id)
  WHERE r.kind = 'Examine' AND r.failed = '';
