// Rows of the audit log.
#include "server/store/audit_rows.h"

#include <google/protobuf/util/time_util.h>

#include <utility>

#include "server/store/statement.h"

namespace wring {

using google::protobuf::util::TimeUtil;

namespace {

thread_local AuditNote* note_of_call = nullptr;

}  // namespace

Json AuditEntry::to_json() const {
  return {{"row", row},
          {"time", TimeUtil::ToString(TimeUtil::MillisecondsToTimestamp(time))},
          {"caller", caller},
          {"scope", scope},
          {"project", project},
          {"method", method},
          {"object", object},
          {"outcome", outcome},
          {"request_id", request_id}};
}

void put_audit_entry(Connection& db, const AuditEntry& entry) {
  Statement(db,
            "INSERT INTO audit(time, caller, scope, project, method, object, outcome, request_id) "
            "VALUES(?,?,?,?,?,?,?,?)")
      .bind(entry.time)
      .bind(entry.caller)
      .bind(entry.scope)
      .bind(entry.project)
      .bind(entry.method)
      .bind(entry.object)
      .bind(entry.outcome)
      .bind(entry.request_id)
      .run();
}

std::vector<AuditEntry> audit_entries(Connection& db, std::int64_t after, int limit) {
  Statement rows(db,
                 "SELECT row, time, caller, scope, project, method, object, outcome, request_id FROM audit "
                 "WHERE row > ? ORDER BY row LIMIT ?");
  rows.bind(after).bind(limit);
  std::vector<AuditEntry> entries;
  while (rows.row())
    entries.push_back({rows.integer(0), rows.integer(1), rows.text(2), rows.text(3), rows.text(4),
                       rows.text(5), rows.text(6), rows.text(7), rows.text(8)});
  return entries;
}

AuditNote::AuditNote(std::function<AuditEntry()> entry) : entry_(std::move(entry)) {
  note_of_call = this;
}

AuditNote::~AuditNote() {
  note_of_call = nullptr;
}

void AuditNote::about(const std::string& object) {
  if (note_of_call) note_of_call->object_ = object;
}

void AuditNote::nothing() {
  if (note_of_call) note_of_call->nothing_ = true;
}

std::optional<AuditEntry> AuditNote::take() {
  if (!note_of_call || std::exchange(note_of_call->taken_, true)) return std::nullopt;
  AuditEntry entry = note_of_call->entry_();
  if (!note_of_call->object_.empty()) entry.object = note_of_call->object_;
  return entry;
}

}  // namespace wring
