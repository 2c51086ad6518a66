// The audit log: who changed what, when, and what came of it. Rows are only added.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/json.h"
#include "server/store/sqlite/job_store.h"

namespace wring {

struct AuditEntry {
  Json to_json() const;

  std::int64_t row = 0;  // rising
  TimeMs time = 0;
  std::string caller;   // id of a token, worker:NAME of a certificate, or "local"
  std::string scope;    // the caller's
  std::string project;  // the caller's; empty: all
  std::string method;   // "Jobs/SubmitJob"
  std::string object;   // id, digest or name of what was changed; empty where none was found
  std::string outcome;  // OK, or the reason of the refusal
  std::string request_id;
};

void put_audit_entry(sqlite3* db, const AuditEntry& entry);
// Entries after `after`, at most `limit`, in order.
std::vector<AuditEntry> audit_entries(sqlite3* db, std::int64_t after, int limit);

}  // namespace wring
