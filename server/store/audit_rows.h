// The audit log: who changed what, when, and what came of it. Rows are only added.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/json.h"
#include "server/store/connection.h"

namespace wring {

struct AuditEntry {
  Json to_json() const;

  std::int64_t row = 0;  // rising
  TimeMs time = 0;
  std::string caller;  // id of a token, worker:NAME of a certificate, "local", "unknown"; "operator", who ran
                       // a program on the data folder; or "collector"
  std::string scope;   // the caller's; of one who was not let in: empty
  std::string project;  // the caller's; empty: all
  std::string method;   // "Jobs/SubmitJob"
  std::string object;   // id, digest or name of what was changed; empty where none was found
  std::string outcome;  // OK, or the reason of the refusal
  std::string request_id;
};

void put_audit_entry(Connection& db, const AuditEntry& entry);
// Entries after `after`, at most `limit`, in order.
std::vector<AuditEntry> audit_entries(Connection& db, std::int64_t after, int limit);

// The row of the call that this thread answers, as long as this lives: the first change of the call takes it
// into its own transaction, so that no change is on disk without its row. Changes made on other threads, or
// by no call, have none.
class AuditNote {
 public:
  explicit AuditNote(std::function<AuditEntry()> entry);  // asked for when it is taken
  ~AuditNote();
  AuditNote(const AuditNote&) = delete;
  AuditNote& operator=(const AuditNote&) = delete;

  // Says what the call on this thread changes, where `entry` does not know it.
  static void about(const std::string& object);
  // Says that the call on this thread only asks, whatever comes of it.
  static void nothing();
  // The row of the call on this thread; nullopt where there is none or it was taken before.
  static std::optional<AuditEntry> take();
  bool was_taken() const { return taken_; }
  bool is_of_nothing() const { return nothing_; }
  const std::string& object() const { return object_; }

 private:
  std::function<AuditEntry()> entry_;
  std::string object_;
  bool taken_ = false, nothing_ = false;
};

}  // namespace wring
