// The one exception of the project: what went wrong, where, and what to do about it.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "common/json.h"

namespace wring {

// The classes of failure, one to one with gRPC's status codes of the same names.
enum class ErrorCode {
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "INVALID_ARGUMENT" and so on.
std::string_view to_string(ErrorCode code);
ErrorCode error_code_from_string(std::string_view name);  // kUnknown where no code has that name

// Immutable. `reason` is a stable UPPER_SNAKE word for programs (google.rpc.ErrorInfo.reason), `message` a
// sentence for people, `field` the path of the offending value ("stages[1].params.group_size") or empty,
// `hint` the way out or empty.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string reason, std::string message, std::string field = {},
        std::string hint = {});

  ErrorCode code() const { return code_; }
  const std::string& reason() const { return reason_; }
  const std::string& message() const { return message_; }
  const std::string& field() const { return field_; }
  const std::string& hint() const { return hint_; }

  Json to_json() const;
  static Error from_json(const Json& json);

 private:
  ErrorCode code_;
  std::string reason_, message_, field_, hint_;
};

// "error: FIELD: MESSAGE\n  HINT\n", as a person should see it on a terminal.
std::string describe(const Error& error);

// The process exit status that stands for `code`, the same in every binary: 2 for what the user can mend in
// the request, 3 not found, 4 resource, 5 unavailable, 6 cancelled, 1 for everything else.
int exit_status(ErrorCode code);

// The current exception as an Error: itself, or one made of std::bad_alloc (kResourceExhausted,
// "OUT_OF_MEMORY"), or any std::exception (kInternal, "INTERNAL"). Call it in a catch block.
Error current_error();

}  // namespace wring
