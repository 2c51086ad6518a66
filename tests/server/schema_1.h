// A job database as release 0.1.0 left it (schema 1): one job queued, one cancelled, the artifacts they read.
#pragma once

namespace wring {

inline constexpr const char* kSchema1 = R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs(
    id TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, name TEXT NOT NULL, phase INTEGER NOT NULL, record TEXT NOT NULL,
    spec BLOB NOT NULL, normal_form TEXT NOT NULL, recipe_digest TEXT NOT NULL, fence_n INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX jobs_by_phase ON jobs(phase, sequence);
CREATE TABLE requests(request_id TEXT PRIMARY KEY, job_id TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events(
    job_id TEXT NOT NULL, number INTEGER NOT NULL, time INTEGER NOT NULL, type TEXT NOT NULL, phase INTEGER NOT NULL,
    attempt INTEGER NOT NULL, payload TEXT NOT NULL, PRIMARY KEY(job_id, number)) WITHOUT ROWID;
CREATE TABLE stages(
    job_id TEXT NOT NULL, idx INTEGER NOT NULL, state TEXT NOT NULL, status BLOB NOT NULL,
    PRIMARY KEY(job_id, idx)) WITHOUT ROWID;
CREATE TABLE evaluations(
    row INTEGER PRIMARY KEY, job_id TEXT NOT NULL, stage INTEGER NOT NULL, artifact TEXT NOT NULL, suite TEXT NOT NULL, metric TEXT NOT NULL,
    value REAL NOT NULL, message BLOB NOT NULL);
CREATE INDEX evaluations_by_job ON evaluations(job_id);
CREATE INDEX evaluations_by_artifact ON evaluations(artifact);
CREATE TABLE artifacts(
    row INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, message BLOB NOT NULL, manifest TEXT NOT NULL);
CREATE TABLE workers(id TEXT PRIMARY KEY, message BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES('epoch',1);
INSERT INTO jobs VALUES('nywaydnbafd1',1,'first',1,'{"attempt":0,"attempt_base":0,"crash_signature":"","create_time":1795752987806,"end_time":0,"error":null,"failures":0,"fence":[0,0],"id":"nywaydnbafd1","last_event":1,"max_attempts":5,"needs":{"device":"cpu","device_count":1,"memory_bytes":0,"methods":["rtn@1"]},"not_before":0,"phase":1,"priority":3,"reported":[],"result":"","sequence":1,"start_time":0,"told_outcome":"","version":1,"worker":""}',CAST(X'0a056669727374120b72746e28626974733d34291a403930653633396631316238333566366136636137646133633432643133653637633934343432373638626338363531613362363763393564306137336431343032050a036370753a004803' AS TEXT),'{"evaluations":[],"name":"","stages":[{"ignore":["lm_head"],"method":"rtn","params":{"bits":4,"group_size":64,"scale_dtype":"float16","scale_search":"minmax","symmetric":true},"targets":["Linear"],"version":1}],"version":1}','579364859779f961b98359867e8ebaedd1a4fad30c79ba30921ea9e0f85e95d0',0);
INSERT INTO jobs VALUES('st24eh6yceh8',2,'second',6,'{"attempt":0,"attempt_base":0,"crash_signature":"","create_time":1795752987836,"end_time":1795752988042,"error":null,"failures":0,"fence":[0,0],"id":"st24eh6yceh8","last_event":2,"max_attempts":5,"needs":{"device":"cpu","device_count":1,"memory_bytes":0,"methods":["rtn@1"]},"not_before":0,"phase":6,"priority":0,"reported":[],"result":"","sequence":2,"start_time":0,"told_outcome":"","version":2,"worker":""}',CAST(X'0a067365636f6e64120b72746e28626974733d38291a403930653633396631316238333566366136636137646133633432643133653637633934343432373638626338363531613362363763393564306137336431343032050a036370753a00' AS TEXT),'{"evaluations":[],"name":"","stages":[{"ignore":["lm_head"],"method":"rtn","params":{"bits":8,"group_size":64,"scale_dtype":"float16","scale_search":"minmax","symmetric":true},"targets":["Linear"],"version":1}],"version":1}','5e812a66bce866672efdce2a2faa2dcc10ac165ffca0d43ad2438d70d455e5de',0);
INSERT INTO requests VALUES('11111111-2222-3333-4444-555555555555','nywaydnbafd1','d61111829486bdaa8765187061ccceca6b9cf963e81236b3f50fac6a184f59f7');
INSERT INTO requests VALUES('6286232e-aea0-4885-8f30-71a7aa4e7cae','st24eh6yceh8','2c3e00cd26dcef9da0662219266751d141c3e799cbbb6a8c39047c3db69ef8a7');
INSERT INTO events VALUES('nywaydnbafd1',1,1795752987806,'queued',1,0,'{}');
INSERT INTO events VALUES('st24eh6yceh8',1,1795752987836,'queued',1,0,'{}');
INSERT INTO events VALUES('st24eh6yceh8',2,1795752988042,'cancelled',6,0,'{}');
INSERT INTO artifacts VALUES(1,'3484a1638858504c35b9a787530ac4f9ebdeb9a432a7c5393876ac4628d1ecec','dataset',CAST(X'0a4033343834613136333838353835303463333562396137383735333061633466396562646562396134333261376335333933383736616334363238643165636563120764617461736574180320012a0c089b88a4d80610808995ef023a016d' AS TEXT),'{"files":[{"chunks":[{"sha256":"ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356","size":3}],"path":"config.json","size":3}],"kind":"dataset","metadata":{},"version":1}');
INSERT INTO artifacts VALUES(2,'90e639f11b835f6a6ca7da3c42d13e67c94442768bc8651a3b67c95d0a73d140','model',CAST(X'0a403930653633396631316238333566366136636137646133633432643133653637633934343432373638626338363531613362363763393564306137336431343012056d6f64656c180320012a0c089b88a4d80610c094f9fd023a016d' AS TEXT),'{"files":[{"chunks":[{"sha256":"ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356","size":3}],"path":"config.json","size":3}],"kind":"model","metadata":{},"version":1}');
PRAGMA user_version = 1;
)sql";

}  // namespace wring
