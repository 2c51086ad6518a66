// libpq with errors as exceptions; values go both ways in PostgreSQL's binary form.
#include "server/store/postgres/connection.h"

#include <poll.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <vector>

#include "common/error.h"
#include "common/json.h"
#include "common/log.h"

namespace wring {
namespace {

using namespace std::chrono_literals;

constexpr int kOldest = 140000;  // the first with idle_session_timeout

// Types by their ids, which PostgreSQL never changes.
constexpr Oid kBool = 16, kBytes = 17, kInt8 = 20, kInt2 = 21, kInt4 = 23, kText = 25, kFloat8 = 701;

std::string big_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) text += static_cast<char>(value >> shift);
  return text;
}

std::uint64_t from_big_endian(const char* data, int bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | static_cast<unsigned char>(data[i]);
  return value;
}

// libpq's messages end with a line feed.
std::string without_end(std::string message) {
  while (!message.empty() && message.back() == '\n') message.pop_back();
  return message;
}

[[noreturn]] void throw_away(const char* message) {
  throw Error(ErrorCode::kUnavailable, "DATABASE_AWAY", "job database: " + without_end(message), "",
              "Is PostgreSQL up, and does database.yaml name it?");
}

[[noreturn]] void throw_postgres(PGconn* session, const PGresult* result) {
  const char* const field = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string state = field ? field : "";
  if (PQstatus(session) != CONNECTION_OK) throw_away(PQerrorMessage(session));
  const std::string message = "job database: " + without_end(PQresultErrorMessage(result));
  if (state == "53100") throw Error(ErrorCode::kResourceExhausted, "DISK_FULL", message);
  if (state == "XX001" || state == "XX002")
    throw Error(ErrorCode::kDataLoss, "DATABASE_CORRUPT", message, "", "Restore the last dump.");
  throw Error(ErrorCode::kInternal, "DATABASE", message);
}

class PostgresStatement final : public Prepared {
 public:
  PostgresStatement(PostgresConnection& connection, std::string name, const std::string& sql)
      : connection_(connection), name_(std::move(name)) {
    connection_.checked(
        PQprepare(connection_.session(), name_.c_str(), with_dollars(sql).c_str(), 0, nullptr));
    const auto description = connection_.checked(PQdescribePrepared(connection_.session(), name_.c_str()));
    parameters_.resize(static_cast<std::size_t>(PQnparams(description.get())));
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      parameters_[i].type = PQparamtype(description.get(), static_cast<int>(i));
  }
  ~PostgresStatement() override {  // within a transaction that has failed it stays
    PQclear(PQexec(connection_.session(), ("DEALLOCATE " + name_).c_str()));
  }

  void bind(int parameter, std::int64_t value) override {
    auto& p = at(parameter);
    if (p.type == kFloat8) return bind(parameter, static_cast<double>(value));
    const int bytes = p.type == kInt8 ? 8 : p.type == kInt4 ? 4 : p.type == kInt2 ? 2 : 0;
    set(p, bytes ? big_endian(static_cast<std::uint64_t>(value), bytes) : std::to_string(value), bytes > 0);
  }
  void bind(int parameter, double value) override {
    auto& p = at(parameter);
    if (p.type == kFloat8) return set(p, big_endian(std::bit_cast<std::uint64_t>(value), 8), true);
    set(p, Json(value).dump(), false);
  }
  void bind(int parameter, std::string_view value) override {
    auto& p = at(parameter);
    set(p, p.type == kBytes ? std::string(value) : as_stored_text(value), true);
  }
  void bind_null(int parameter) override { at(parameter).is_null = true; }

  bool row() override {
    if (!result_) run();
    return ++row_ < PQntuples(result_.get());
  }
  void reset() override {
    result_.reset();
    for (auto& p : parameters_) p = {p.type};
  }

  std::int64_t integer(int column) const override {
    const auto bits = from_big_endian(value(column), length(column));
    switch (PQftype(result_.get(), column)) {
      case kInt2:
        return static_cast<std::int16_t>(bits);
      case kInt4:
        return static_cast<std::int32_t>(bits);
      case kFloat8:
        return static_cast<std::int64_t>(std::bit_cast<double>(bits));
      default:
        return static_cast<std::int64_t>(bits);
    }
  }
  double number(int column) const override {
    if (PQftype(result_.get(), column) != kFloat8) return static_cast<double>(integer(column));
    return std::bit_cast<double>(from_big_endian(value(column), length(column)));
  }
  std::string text(int column) const override {
    return {value(column), static_cast<std::size_t>(length(column))};
  }
  bool is_null(int column) const override { return PQgetisnull(result_.get(), row_, column) != 0; }

 private:
  struct Parameter {
    Oid type = 0;
    std::string bytes = {};
    bool is_null = true, binary = false;
  };
  Parameter& at(int parameter) { return parameters_.at(static_cast<std::size_t>(parameter - 1)); }
  static void set(Parameter& p, std::string bytes, bool binary) {
    p.bytes = std::move(bytes);
    p.is_null = false;
    p.binary = binary;
  }

  void run() {
    std::vector<const char*> values;
    std::vector<int> lengths, formats;
    for (const auto& p : parameters_) {
      values.push_back(p.is_null ? nullptr : p.bytes.c_str());
      lengths.push_back(static_cast<int>(p.bytes.size()));
      formats.push_back(p.binary);
    }
    result_ = connection_.checked(PQexecPrepared(connection_.session(), name_.c_str(),
                                                 static_cast<int>(values.size()), values.data(),
                                                 lengths.data(), formats.data(), 1));
    row_ = -1;
  }
  const char* value(int column) const { return PQgetvalue(result_.get(), row_, column); }
  int length(int column) const { return PQgetlength(result_.get(), row_, column); }

  PostgresConnection& connection_;
  std::string name_;
  std::vector<Parameter> parameters_;
  PostgresResult result_;
  int row_ = -1;
};

PGconn* connect(const std::string& url) {
  // What the URL says wins over what stands before it.
  const char* const keys[] = {"connect_timeout",
                              "tcp_user_timeout",
                              "fallback_application_name",
                              "client_encoding",
                              "target_session_attrs",
                              "dbname",
                              nullptr};
  const char* const values[] = {"10", "10000", "wring-server", "UTF8", "read-write", url.c_str(), nullptr};
  return PQconnectdbParams(keys, values, 1);
}

void log_notice(void*, const char* message) {
  spdlog::debug("job database: {}", message);
}

}  // namespace

std::string with_dollars(const std::string& sql) {
  std::string out;
  int next = 1;
  for (std::size_t i = 0; i < sql.size(); ++i) {
    if (sql[i] != '?') {
      out += sql[i];
      continue;
    }
    out += '$';
    if (i + 1 == sql.size() || !std::isdigit(static_cast<unsigned char>(sql[i + 1])))
      out += std::to_string(next++);
  }
  return out;
}

std::string as_stored_text(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return c > 0; })) return std::string(text);
  std::string without_nul;
  for (const char c : text) c ? without_nul += c : without_nul += "\xEF\xBF\xBD";
  const auto quoted = Json(without_nul).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(quoted).get<std::string>();
}

PostgresConnection::PostgresConnection(const std::string& url) : session_(connect(url)) {
  if (PQstatus(session()) != CONNECTION_OK) throw_away(PQerrorMessage(session()));
  if (PQserverVersion(session()) < kOldest)
    throw Error(ErrorCode::kFailedPrecondition, "OLD_POSTGRESQL",
                "the job database is on PostgreSQL " + std::to_string(PQserverVersion(session()) / 10000), "",
                "14 or later is needed.");
  PQsetNoticeProcessor(session(), log_notice, nullptr);
  execute(
      "SET synchronous_commit = on; SET default_transaction_isolation = 'read committed'; "
      "SET default_transaction_read_only = off; SET lock_timeout = 0; SET statement_timeout = 0");
}

PostgresConnection::~PostgresConnection() {
  forget_statements();
}

PostgresResult PostgresConnection::checked(PGresult* raw) {
  PostgresResult result(raw);
  const auto status = PQresultStatus(raw);
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY)
    throw_postgres(session(), raw);
  const std::string changed = PQcmdTuples(raw);
  changes_ = changed.empty() ? 0 : std::stoll(changed);
  return result;
}

// COMMIT of a transaction of which a statement has failed is no error to PostgreSQL: it rolls back.
void PostgresConnection::execute(const std::string& sql) {
  const auto result = checked(PQexec(session(), sql.c_str()));
  if (sql == "COMMIT" && std::string_view(PQcmdStatus(result.get())) != "COMMIT")
    throw Error(ErrorCode::kInternal, "DATABASE", "job database: the transaction was rolled back");
}

bool PostgresConnection::is_alive() const {
  return PQstatus(session()) == CONNECTION_OK;
}

void PostgresConnection::begin() {
  if (!epoch_) return execute("BEGIN");
  const auto result =
      checked(PQexec(session(), "BEGIN; SELECT value FROM meta WHERE key = 'epoch' FOR SHARE"));
  const std::string epoch = PQntuples(result.get()) ? PQgetvalue(result.get(), 0, 0) : "none";
  if (epoch != std::to_string(*epoch_))
    throw Error(
        ErrorCode::kAborted, "NOT_THE_LEADER",
        "another server leads: the epoch is " + epoch + ", this one's was " + std::to_string(*epoch_));
}

void PostgresConnection::rollback() noexcept {
  PQclear(PQexec(session(), "ROLLBACK"));
}

void PostgresConnection::fence(std::uint64_t epoch, std::chrono::milliseconds longest_pause) {
  epoch_ = epoch;
  execute("SET idle_in_transaction_session_timeout = " + std::to_string(longest_pause.count()));
}

bool PostgresConnection::answers(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  if (!PQsendQuery(session(), "SELECT 1")) return false;
  while (PQisBusy(session())) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd socket{PQsocket(session()), POLLIN, 0};
    if (left <= 0ms || ::poll(&socket, 1, static_cast<int>(left.count())) < 0) return false;
    if (socket.revents && !PQconsumeInput(session())) return false;
  }
  bool answered = false;
  while (const PostgresResult result{PQgetResult(session())})
    answered = PQresultStatus(result.get()) == PGRES_TUPLES_OK;
  return answered;
}

std::unique_ptr<Prepared> PostgresConnection::prepare(const std::string& sql) {
  return std::make_unique<PostgresStatement>(*this, "s" + std::to_string(++prepared_), sql);
}

}  // namespace wring
