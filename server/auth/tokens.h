// Tokens: random, told once, kept as their SHA-256.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "server/auth/access.h"
#include "server/store/job_store.h"

namespace wring {

struct Token {
  std::string id, name;
  Scope scope = Scope::kViewer;
  Within project;
  TimeMs create_time = 0, expire_time = 0, revoke_time = 0;  // 0: not
};

// What a worker's certificate is called, with "worker:" before it, here and in the certificate.
inline constexpr std::string_view kWorkerPrefix = "worker:";

// All tokens, in memory and in the job database. Any thread may call.
class Tokens {
 public:
  explicit Tokens(JobStore& store);

  bool none() const;  // nor was there ever one
  // The token that this is the secret of, be it expired or revoked.
  std::optional<Token> find(const std::string& secret) const;
  std::optional<Token> by_id(const std::string& id) const;
  std::vector<Token> list(const std::optional<std::string>& after, int limit) const;  // by id

  // Stores `token` under a new id. Returns it, and its secret. Throws kInvalidArgument "BAD_TOKEN",
  // "BAD_PROJECT", kFailedPrecondition "FIRST_TOKEN".
  std::pair<Token, std::string> create(Token token, TimeMs now);
  // "worker:NAME" needs no token: it shuts out that certificate. Throws kNotFound "TOKEN_NOT_FOUND".
  Token revoke(const std::string& id, TimeMs now);

 private:
  void put(const Token& token, const std::string& hash);

  JobStore& store_;
  mutable std::mutex mutex_;
  std::map<std::string, Token> by_id_;
  std::map<std::string, std::string> ids_;  // by hash
};

}  // namespace wring
