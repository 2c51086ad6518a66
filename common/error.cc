// The one exception of the project, its JSON form, and how it is shown to a person.
#include "common/error.h"

#include <array>
#include <new>
#include <utility>

namespace wring {
namespace {

struct CodeName {
  ErrorCode code;
  std::string_view name;
};

constexpr std::array<CodeName, 16> kCodeNames{{
    {ErrorCode::kCancelled, "CANCELLED"},
    {ErrorCode::kUnknown, "UNKNOWN"},
    {ErrorCode::kInvalidArgument, "INVALID_ARGUMENT"},
    {ErrorCode::kDeadlineExceeded, "DEADLINE_EXCEEDED"},
    {ErrorCode::kNotFound, "NOT_FOUND"},
    {ErrorCode::kAlreadyExists, "ALREADY_EXISTS"},
    {ErrorCode::kPermissionDenied, "PERMISSION_DENIED"},
    {ErrorCode::kResourceExhausted, "RESOURCE_EXHAUSTED"},
    {ErrorCode::kFailedPrecondition, "FAILED_PRECONDITION"},
    {ErrorCode::kAborted, "ABORTED"},
    {ErrorCode::kOutOfRange, "OUT_OF_RANGE"},
    {ErrorCode::kUnimplemented, "UNIMPLEMENTED"},
    {ErrorCode::kInternal, "INTERNAL"},
    {ErrorCode::kUnavailable, "UNAVAILABLE"},
    {ErrorCode::kDataLoss, "DATA_LOSS"},
    {ErrorCode::kUnauthenticated, "UNAUTHENTICATED"},
}};

// What is not UTF-8 becomes U+FFFD: names from outside land in fields and messages, and must fit JSON and
// gRPC.
std::string printable(std::string text) {
  const auto quoted = Json(std::move(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(quoted).get<std::string>();
}

std::string one_line(const std::string& message, const std::string& field) {
  return field.empty() ? message : field + ": " + message;
}

}  // namespace

std::string_view to_string(ErrorCode code) {
  for (const auto& entry : kCodeNames)
    if (entry.code == code) return entry.name;
  return "UNKNOWN";
}

ErrorCode error_code_from_string(std::string_view name) {
  for (const auto& entry : kCodeNames)
    if (entry.name == name) return entry.code;
  return ErrorCode::kUnknown;
}

Error::Error(ErrorCode code, std::string reason, std::string message, std::string field, std::string hint)
    : std::runtime_error(one_line(printable(message), printable(field))),
      code_(code),
      reason_(printable(std::move(reason))),
      message_(printable(std::move(message))),
      field_(printable(std::move(field))),
      hint_(printable(std::move(hint))) {}

Json Error::to_json() const {
  return {{"code", to_string(code_)},
          {"reason", reason_},
          {"message", message_},
          {"field", field_},
          {"hint", hint_}};
}

Error Error::from_json(const Json& json) {
  const auto text = [&](const char* key) { return json_or<std::string>(json, key, "", "error"); };
  return Error(error_code_from_string(text("code")), text("reason"), text("message"), text("field"),
               text("hint"));
}

std::string describe(const Error& error) {
  std::string text = "error: " + one_line(error.message(), error.field()) + "\n";
  if (error.hint().empty()) return text;
  text += "  ";
  for (const char c : error.hint()) {
    text += c;
    if (c == '\n') text += "  ";
  }
  return text + "\n";
}

int exit_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kOutOfRange:
    case ErrorCode::kUnimplemented:
    case ErrorCode::kPermissionDenied:
    case ErrorCode::kUnauthenticated:
      return 2;
    case ErrorCode::kNotFound:
      return 3;
    case ErrorCode::kResourceExhausted:
      return 4;
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadlineExceeded:
      return 5;
    case ErrorCode::kCancelled:
      return 6;
    default:
      return 1;
  }
}

Error current_error() {
  try {
    throw;
  } catch (const Error& e) {
    return e;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kResourceExhausted, "OUT_OF_MEMORY", "out of memory", "",
                 "Give the job more memory, or take a smaller model, window or calibration set.");
  } catch (const std::exception& e) {
    return Error(ErrorCode::kInternal, "INTERNAL", e.what());
  } catch (...) {
    return Error(ErrorCode::kInternal, "INTERNAL", "an exception of unknown type");
  }
}

}  // namespace wring
