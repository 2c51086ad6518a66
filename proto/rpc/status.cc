// Errors as google.rpc.Status.
#include "proto/rpc/status.h"

#include <algorithm>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace wring {
namespace {

// A status travels as HTTP/2 trailers, which peers limit to 8 KiB, and says its message three times.
constexpr std::size_t kMaxText = 800;
constexpr std::size_t kMaxViolations = 16;
constexpr const char* kRpc = "RPC";  // the reason of errors that are gRPC's own

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

// At most kMaxText bytes, and valid UTF-8 (bytes that are not become '?').
std::string bounded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size() && out.size() < kMaxText;) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                               : lead >= 0xe0                ? 3
                               : lead >= 0xc2                ? 2
                                                             : 0;
    bool valid = length > 0 && lead < 0xf5 && i + length <= text.size();
    for (std::size_t k = 1; valid && k < length; ++k) valid = is_continuation(text[i + k]);
    if (valid)
      out.append(text.substr(i, length));
    else
      out += '?';
    i += valid ? length : 1;
  }
  return out;
}

}  // namespace

grpc::Status to_status(const Error& error, std::span<const std::string> missing) {
  const std::string message = bounded(error.message());
  google::rpc::Status status;
  status.set_code(static_cast<int>(error.code()));
  status.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(error.reason());
  info.set_domain("wring");
  if (!error.hint().empty()) (*info.mutable_metadata())["hint"] = bounded(error.hint());
  status.add_details()->PackFrom(info);
  if (!error.field().empty()) {
    google::rpc::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field(bounded(error.field()));
    violation->set_description(message);
    status.add_details()->PackFrom(bad);
  }
  if (!missing.empty()) {
    google::rpc::PreconditionFailure failure;
    for (const auto& subject : missing.first(std::min(missing.size(), kMaxViolations))) {
      auto* violation = failure.add_violations();
      violation->set_type("MISSING");
      violation->set_subject(bounded(subject));
    }
    status.add_details()->PackFrom(failure);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(error.code()), message, status.SerializeAsString());
}

Error from_status(const grpc::Status& status) {
  std::string reason = kRpc, field, hint;
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& any : details.details()) {
      google::rpc::ErrorInfo info;
      google::rpc::BadRequest bad;
      if (any.UnpackTo(&info)) {
        reason = info.reason();
        if (const auto it = info.metadata().find("hint"); it != info.metadata().end()) hint = it->second;
      } else if (any.UnpackTo(&bad) && bad.field_violations_size() > 0) {
        field = bad.field_violations(0).field();
      }
    }
  }
  return Error(static_cast<ErrorCode>(status.error_code()), reason, status.error_message(), field, hint);
}

bool is_away(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadlineExceeded:
      return true;
    case ErrorCode::kCancelled:
    case ErrorCode::kUnknown:  // "Stream removed"
      return error.reason() == kRpc;
    case ErrorCode::kResourceExhausted:  // of calls, not of what a job needs; the second is gRPC's own word
      return error.reason() == "RATE_LIMITED" || error.reason() == "TOO_MANY_CALLS" ||
             (error.reason() == kRpc && error.message() == "Server Threadpool Exhausted");
    default:
      return false;
  }
}

void throw_status(const grpc::Status& status) {
  throw from_status(status);
}

void check(const grpc::Status& status) {
  if (!status.ok()) throw_status(status);
}

}  // namespace wring
