// The one way into every call, of gRPC and of HTTP: who calls, whether he may, how often, and what is noted.
#pragma once

#include <cstdint>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "common/error.h"
#include "server/auth/access.h"
#include "server/auth/tokens.h"
#include "server/store/audit_rows.h"

namespace wring {

// Whoever calls.
struct Caller {
  std::string id;  // of a token, "worker:NAME" of a certificate, or "local"
  Scope scope = Scope::kAdmin;
  Within project;
};

// What a call brings along.
struct Credentials {
  std::string token;        // the secret; empty: none
  std::string certificate;  // name in a certificate that our CA has signed; empty: none
  bool loopback = false;    // from this machine
  std::string address;      // of the caller's machine, for the log; may be empty
  std::string request_id;   // for the log; empty: one is made up
  std::string job;          // that a worker says it calls for; empty: none
};

// Of an Authorization header: "Bearer SECRET"; empty where it is something else.
std::string bearer_token(const std::string& authorization);

struct DoorOptions {
  bool tls = false;
  double calls_per_second = 1000;  // of one token, in bursts of twice as many; 0: no limit
  int open_calls = 200;            // of one token at a time
};

// Any thread may call.
//
// Open as long as there is no token and no TLS: then every caller is "local", who may everything. Closed, a
// call needs a token; a worker's call needs a certificate of the server's CA, or, from this machine, a
// worker's token.
class Door {
 public:
  Door(JobStore& store, Tokens& tokens, const Clock& clock, DoorOptions options)
      : store_(store), tokens_(tokens), clock_(clock), options_(options) {}

  // A call that was let in.
  struct Visit {
    Caller caller;
    std::string object;      // what a change was about; the call fills it in
    std::string request_id;  // as it was sent, or a new one
    std::string job;         // as it was sent
    const Access* access = nullptr;
  };

  // Lets the call in and runs `body` with its visit. What the body changes first goes to disk with the call's
  // row of the audit log; a call that changes nothing, or fails, is in the log before this returns, or, while
  // the disk is full, some time after. Of calls without a valid token, and of one caller's that are refused,
  // only so many a minute are in the log. Throws what `body` throws, and
  // kUnauthenticated "NO_TOKEN", "BAD_TOKEN", "TOKEN_EXPIRED", "TOKEN_REVOKED", "CERTIFICATE_NEEDED";
  // kPermissionDenied "SCOPE"; kResourceExhausted "RATE_LIMITED", "TOO_MANY_CALLS".
  template <typename Body>
  void call(std::string_view method, const Credentials& credentials, Body body) {
    Visit visit = enter(method, credentials);
    std::optional<AuditNote> note;
    if (visit.access->audited) note.emplace([&] { return entry_of(visit, kDone); });
    try {
      body(visit);
    } catch (...) {
      leave(visit, note, current_error().reason());
      throw;
    }
    leave(visit, note, kDone);
  }

  bool is_open() const { return !options_.tls && tokens_.none(); }
  // Who calls with these. Throws as call() does of tokens and certificates.
  Caller identify(const Credentials& credentials) const;
  // Throws as identify() where a caller who was let in before no longer would be.
  void check_still(const Caller& caller) const;
  // Whether who has this id could still be let in.
  bool may_come(const std::string& caller_id) const;

 private:
  static constexpr const char* kDone = "OK";

  // Fills at a rate; full at first.
  struct Bucket {
    bool take(double per_second, double most, TimeMs now);  // whether there was one
    std::optional<double> left;
    TimeMs at = 0;
  };
  // Rows of the audit log about calls that cost their caller nothing.
  struct Refusals {
    bool take(AuditEntry& entry);  // whether it may be in the log; it then says how many were not
    Bucket rows;
    std::uint64_t left_out = 0;  // since the last one that was
  };
  struct Traffic {
    Bucket calls;
    Refusals refusals;
    int open = 0;
  };

  Caller let_in(std::string_view method, const Credentials& credentials);
  Visit enter(std::string_view method, const Credentials& credentials);
  void leave(const Visit& visit, const std::optional<AuditNote>& note, const std::string& outcome);
  void count(const Caller& caller);
  AuditEntry entry_of(const Visit& visit, const std::string& outcome) const;
  std::future<void> write(AuditEntry entry);
  void put(const Caller& caller, AuditEntry entry);
  void note_refusal(const Caller& caller, AuditEntry entry);
  void note_stranger(std::string_view method, const Credentials& credentials, const std::string& reason);

  JobStore& store_;
  Tokens& tokens_;
  const Clock& clock_;
  const DoorOptions options_;
  std::mutex mutex_;
  std::map<std::string, Traffic> traffic_;  // by caller
  Refusals strangers_;                      // calls that were not let in
  std::uint64_t waiting_ = 0;               // rows of the audit log since the disk is full
};

}  // namespace wring
