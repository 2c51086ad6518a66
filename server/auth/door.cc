// Identity, scope, rate, audit: in this order.
#include "server/auth/door.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/ids.h"
#include "common/log.h"
#include "common/utf8.h"

namespace wring {
namespace {

constexpr const char* kLocal = "local";

// Anybody can make calls without a token, and a viewer ones that are refused: at most 2 MB of rows in a day
// of all strangers, and 4 MB of each caller.
constexpr double kRefusalsPerSecond = 0.1, kMostRefusals = 60;
constexpr std::uint64_t kMostWaiting = 1000;                 // rows in memory while the disk is full
constexpr auto kLookAtDisk = std::chrono::milliseconds(50);  // of who waits for a row

constexpr std::size_t kMostText = 256;  // of what a caller sent and an audit row keeps

std::string of_bounded_length(const std::string& text) {
  return valid_utf8(text.substr(0, kMostText));
}

[[noreturn]] void refuse(const char* reason, const std::string& message, const std::string& hint) {
  throw Error(ErrorCode::kUnauthenticated, reason, message, "", hint);
}

void check_valid(const Token& token, TimeMs now) {
  if (token.revoke_time != 0)
    refuse("TOKEN_REVOKED", token.id + " was revoked", "Ask an admin for another token.");
  if (token.expire_time != 0 && token.expire_time <= now)
    refuse("TOKEN_EXPIRED", token.id + " has expired", "Ask an admin for another token.");
}

// What a caller has sent, where nothing has that name.
std::string in_one_line(const std::string& object) {
  std::string line = object.substr(0, 80);
  for (char& c : line)
    if (c < ' ' || c > '~') c = '?';
  return line;
}

bool is_full(const JobStore& store) {
  try {
    store.check_space();
    return false;
  } catch (const Error&) {
    return true;
  }
}

// What was asked to change, beside the audit log: with the ids that other lines, and a worker's, have.
void log(const AuditEntry& entry) {
  std::optional<LogScope> job;
  const std::string object = in_one_line(entry.object);
  if (entry.method.starts_with("Jobs/") && !object.empty()) job.emplace("job", object);
  spdlog::info("{}{}{} by {}: {}", entry.method, object.empty() ? "" : " ", object, entry.caller,
               entry.outcome);
}

}  // namespace

std::string bearer_token(const std::string& authorization) {
  constexpr std::string_view kBearer = "Bearer ";
  return authorization.starts_with(kBearer) ? authorization.substr(kBearer.size()) : "";
}

Caller Door::let_in(std::string_view method, const Credentials& credentials) {
  try {
    return identify(credentials);
  } catch (const Error& error) {
    note_stranger(method, credentials, error.reason());
    throw;
  }
}

Caller Door::identify(const Credentials& credentials) const {
  if (is_open()) return {kLocal, Scope::kAdmin, {}};
  if (credentials.certificate.starts_with(kWorkerPrefix)) {
    if (const auto revoked = tokens_.by_id(credentials.certificate)) check_valid(*revoked, clock_.now_ms());
    return {credentials.certificate, Scope::kWorker, {}};
  }
  if (credentials.token.empty())
    refuse("NO_TOKEN", "this server needs a token",
           "Set WRING_TOKEN, or `token:` in the client's configuration; wring tokens create makes one.");
  const auto token = tokens_.find(credentials.token);
  if (!token) refuse("BAD_TOKEN", "this is no token of this server", "wring tokens create makes one.");
  check_valid(*token, clock_.now_ms());
  if (token->scope == Scope::kWorker && !credentials.loopback)
    refuse("CERTIFICATE_NEEDED", "a worker on another machine needs a certificate",
           "wring-server init worker NAME makes one.");
  return {token->id, token->scope, token->project};
}

void Door::check_still(const Caller& caller) const {
  if (const auto token = tokens_.by_id(caller.id)) check_valid(*token, clock_.now_ms());
  if (caller.id == kLocal && !is_open()) refuse("NO_TOKEN", "this server needs a token since", "");
}

bool Door::may_come(const std::string& caller_id) const {
  if (caller_id == kLocal) return is_open();
  const auto token = tokens_.by_id(caller_id);  // of a certificate there is one where it was revoked
  if (!token) return caller_id.starts_with(kWorkerPrefix);
  return token->revoke_time == 0 && (token->expire_time == 0 || token->expire_time > clock_.now_ms());
}

Door::Visit Door::enter(std::string_view method, const Credentials& credentials) {
  Visit visit{let_in(method, credentials), "", request_id_from(credentials.request_id), credentials.job,
              &access_of(method)};
  try {
    const bool local = visit.caller.id == kLocal;  // who is the server's own worker, too
    if (!local && !may(visit.caller.scope, *visit.access))
      throw Error(ErrorCode::kPermissionDenied, "SCOPE",
                  "a " + std::string(to_string(visit.caller.scope)) + " may not call " + std::string(method),
                  "", "Ask an admin for a token of another scope.");
    count(visit.caller);
  } catch (const Error& error) {
    if (visit.access->audited) note_refusal(visit.caller, entry_of(visit, error.reason()));
    throw;
  }
  return visit;
}

void Door::leave(const Visit& visit, const std::optional<AuditNote>& note, const std::string& outcome) {
  {
    const std::lock_guard lock(mutex_);
    --traffic_.at(visit.caller.id).open;
  }
  if (!note || note->is_of_nothing()) return;
  AuditEntry entry = entry_of(visit, outcome);
  if (!note->object().empty()) entry.object = note->object();
  log(entry);
  const bool failed = outcome != kDone, changed = note->was_taken();
  if (failed && !changed) return note_refusal(visit.caller, std::move(entry));
  if (failed || !changed) put(visit.caller, std::move(entry));
}

bool Door::Bucket::take(double per_second, double most, TimeMs now) {
  left = std::min(most, left.value_or(most) + per_second * static_cast<double>(now - at) / 1000);
  at = now;
  if (*left < 1) return false;
  --*left;
  return true;
}

bool Door::Refusals::take(AuditEntry& entry) {
  if (!rows.take(kRefusalsPerSecond, kMostRefusals, entry.time)) {
    ++left_out;
    return false;
  }
  if (const auto more = std::exchange(left_out, 0))
    entry.outcome += " (" + std::to_string(more) + " more calls before it)";
  return true;
}

void Door::count(const Caller& caller) {
  const double rate = options_.calls_per_second;
  const std::lock_guard lock(mutex_);
  Traffic& traffic = traffic_[caller.id];
  if (caller.id != kLocal) {
    if (traffic.open >= options_.open_calls)
      throw Error(ErrorCode::kResourceExhausted, "TOO_MANY_CALLS",
                  "more than " + std::to_string(options_.open_calls) + " calls at a time", "",
                  "Wait for some to end.");
    if (rate > 0 && !traffic.calls.take(rate, 2 * rate, clock_.now_ms()))
      throw Error(ErrorCode::kResourceExhausted, "RATE_LIMITED",
                  "more than " + std::to_string(static_cast<int>(rate)) + " calls in a second", "",
                  "Wait a second.");
  }
  ++traffic.open;
}

AuditEntry Door::entry_of(const Visit& visit, const std::string& outcome) const {
  return {0,
          clock_.now_ms(),
          visit.caller.id,
          std::string(to_string(visit.caller.scope)),
          visit.caller.project,
          std::string(visit.access->method),
          of_bounded_length(visit.object),
          outcome,
          of_bounded_length(visit.request_id)};
}

// Not valid where the row is left out: the disk is full, and many wait for it.
std::future<void> Door::write(AuditEntry entry) {
  const bool full = is_full(store_);
  bool fits = true;
  {
    const std::lock_guard lock(mutex_);
    waiting_ = full ? waiting_ + 1 : 0;
    fits = waiting_ <= kMostWaiting;
  }
  if (fits)
    return store_.change_later([entry = std::move(entry)](Connection& db) { put_audit_entry(db, entry); });
  spdlog::error("the disk is full, and the audit log lacks this: {} {} by {}: {}", entry.method,
                in_one_line(entry.object), entry.caller, entry.outcome);
  return {};
}

// An open server does not wait for the disk: everybody is the same caller there. Nobody waits for a full one:
// he is to hear of it.
void Door::put(const Caller& caller, AuditEntry entry) {
  const auto written = write(std::move(entry));
  if (caller.id == kLocal || !written.valid()) return;
  while (!is_full(store_) && written.wait_for(kLookAtDisk) == std::future_status::timeout) {
  }
}

void Door::note_refusal(const Caller& caller, AuditEntry entry) {
  {
    const std::lock_guard lock(mutex_);
    if (!traffic_[caller.id].refusals.take(entry)) return;
  }
  put(caller, std::move(entry));
}

// Does not wait for the disk either: who is not let in makes no work of it.
void Door::note_stranger(std::string_view method, const Credentials& credentials, const std::string& reason) {
  const auto token = tokens_.find(credentials.token);
  AuditEntry entry{0,
                   clock_.now_ms(),
                   token ? token->id : credentials.certificate,
                   "",
                   "",
                   std::string(method),
                   credentials.address,
                   reason,
                   request_id_from(credentials.request_id)};
  if (entry.caller.empty()) entry.caller = "unknown";
  {
    const std::lock_guard lock(mutex_);
    if (!strangers_.take(entry)) return;
  }
  write(std::move(entry));
}

}  // namespace wring
