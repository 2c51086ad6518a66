// Tokens' rows and their index.
#include "server/auth/tokens.h"

#include "common/digest.h"
#include "common/error.h"
#include "common/ids.h"
#include "server/api/messages.h"
#include "server/store/audit_rows.h"

namespace wring {
namespace {

constexpr int kSecretLength = 52;  // of 5 bits each

void check(const Token& token, TimeMs now) {
  const auto refuse = [](const char* message, const char* field, const char* hint) {
    throw Error(ErrorCode::kInvalidArgument, "BAD_TOKEN", message, field, hint);
  };
  if (token.name.size() > 100) refuse("a name of more than 100 bytes", "name", "");
  const bool whole = token.scope == Scope::kAdmin || token.scope == Scope::kWorker;
  if (whole && !token.project.empty())
    refuse("an admin's or a worker's token is of the whole server", "project", "Leave the project out.");
  if (!token.project.empty()) check_project(token.project, "project");
  if (token.expire_time != 0 && token.expire_time <= now)
    refuse("this time is over", "expire_time", "Leave it out for a token that does not expire.");
}

}  // namespace

Tokens::Tokens(JobStore& store) : store_(store) {
  store.read([&](Connection& db) {
    Statement rows(
        db, "SELECT id, hash, name, scope, project, create_time, expire_time, revoke_time FROM tokens");
    while (rows.row()) {
      ids_[rows.text(1)] = rows.text(0);
      by_id_[rows.text(0)] = {rows.text(0),   rows.text(2),    static_cast<Scope>(rows.integer(3)),
                              rows.text(4),   rows.integer(5), rows.integer(6),
                              rows.integer(7)};
    }
  });
}

bool Tokens::none() const {
  const std::lock_guard lock(mutex_);
  return by_id_.empty();
}

std::optional<Token> Tokens::find(const std::string& secret) const {
  const auto hash = sha256(secret).hex();
  const std::lock_guard lock(mutex_);
  const auto id = ids_.find(hash);
  if (id == ids_.end()) return std::nullopt;
  return by_id_.at(id->second);
}

std::optional<Token> Tokens::by_id(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) return std::nullopt;
  return it->second;
}

std::vector<Token> Tokens::list(const std::optional<std::string>& after, int limit) const {
  const std::lock_guard lock(mutex_);
  std::vector<Token> page;
  for (auto it = after ? by_id_.upper_bound(*after) : by_id_.begin();
       it != by_id_.end() && static_cast<int>(page.size()) < limit; ++it)
    page.push_back(it->second);
  return page;
}

std::pair<Token, std::string> Tokens::create(Token token, TimeMs now) {
  check(token, now);
  if (none() && token.scope != Scope::kAdmin)
    throw Error(ErrorCode::kFailedPrecondition, "FIRST_TOKEN", "the first token must be an admin's", "scope",
                "From then on every call needs a token: wring tokens create --scope admin.");
  token.id = random_id();
  token.create_time = now;
  token.revoke_time = 0;
  const std::string secret = "wring_" + random_id(kSecretLength);
  AuditNote::about(token.id);
  put(token, sha256(secret).hex());
  return {token, secret};
}

Token Tokens::revoke(const std::string& id, TimeMs now) {
  auto token = by_id(id);
  const bool certificate = id.starts_with(kWorkerPrefix) && id.size() <= 64 + kWorkerPrefix.size();
  if (!token && certificate) token = Token{id, id.substr(kWorkerPrefix.size()), Scope::kWorker, {}, now};
  if (!token)
    throw Error(ErrorCode::kNotFound, "TOKEN_NOT_FOUND", "there is no token " + id.substr(0, 80), "id",
                "wring tokens list shows their ids; worker:NAME is the certificate of that worker.");
  if (token->revoke_time != 0) return *token;
  token->revoke_time = now;
  std::string hash = id;  // of a certificate: no secret has it
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [known, of] : ids_)
      if (of == id) hash = known;
  }
  put(*token, hash);
  return *token;
}

// On disk first: a token that is told is never lost, one that is revoked stays so.
void Tokens::put(const Token& token, const std::string& hash) {
  store_.change([&](Connection& db) {
    Statement(
        db,
        "INSERT INTO tokens VALUES(?,?,?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET name = excluded.name, "
        "expire_time = excluded.expire_time, revoke_time = excluded.revoke_time")
        .bind(token.id)
        .bind(hash)
        .bind(token.name)
        .bind(static_cast<int>(token.scope))
        .bind(token.project)
        .bind(token.create_time)
        .bind(token.expire_time)
        .bind(token.revoke_time)
        .run();
  });
  const std::lock_guard lock(mutex_);
  by_id_[token.id] = token;
  ids_[hash] = token.id;
}

}  // namespace wring
