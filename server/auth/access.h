// Who may call what: one row for each method of the API.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace wring {

// Of people, each may what the one before may.
enum class Scope { kViewer = 1, kSubmitter = 2, kAdmin = 3, kWorker = 4 };
std::string_view to_string(Scope scope);
// Throws kInvalidArgument "BAD_SCOPE" about `scope`.
Scope parse_scope(const std::string& text);

struct Access {
  std::string_view method;      // "Jobs/SubmitJob"
  std::optional<Scope> people;  // the least scope; none: no person may
  bool workers;
  bool audited;  // a change that somebody asked for
};

std::span<const Access> access_table();
// Throws kInternal "NO_ACCESS_RULE" where the table has no such method.
const Access& access_of(std::string_view method);
bool may(Scope scope, const Access& access);

}  // namespace wring
