// The one way into every call, of gRPC and of HTTP: who calls, whether he may, how often, and what is noted.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "common/error.h"
#include "server/auth/access.h"
#include "server/auth/audit.h"
#include "server/auth/tokens.h"

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

  // Lets the call in and runs `body` with its visit; a change is in the audit log before this returns. Throws
  // what `body` throws, and kUnauthenticated "NO_TOKEN", "BAD_TOKEN", "TOKEN_EXPIRED", "TOKEN_REVOKED",
  // "CERTIFICATE_NEEDED"; kPermissionDenied "SCOPE"; kResourceExhausted "RATE_LIMITED", "TOO_MANY_CALLS".
  template <typename Body>
  void call(std::string_view method, const Credentials& credentials, Body body) {
    Visit visit = enter(method, credentials);
    try {
      body(visit);
    } catch (...) {
      leave(visit, current_error().reason());
      throw;
    }
    leave(visit, "OK");
  }

  bool is_open() const { return !options_.tls && tokens_.none(); }
  // Who calls with these. Throws as call() does of tokens and certificates.
  Caller identify(const Credentials& credentials) const;
  // Throws as identify() where a caller who was let in before no longer would be.
  void check_still(const Caller& caller) const;
  // Whether who has this id could still be let in.
  bool may_come(const std::string& caller_id) const;

 private:
  struct Traffic {
    double left = 0;  // calls that may be made now
    TimeMs at = 0;
    int open = 0;
  };

  Visit enter(std::string_view method, const Credentials& credentials);
  void leave(const Visit& visit, const std::string& outcome);
  void count(const Caller& caller);
  void note(const Visit& visit, const std::string& outcome);

  JobStore& store_;
  Tokens& tokens_;
  const Clock& clock_;
  const DoorOptions options_;
  std::mutex mutex_;
  std::map<std::string, Traffic> traffic_;  // by caller
};

}  // namespace wring
