// Errors as google.rpc.Status.
#include "proto/rpc/status.h"

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace wring {

grpc::Status to_status(const Error& error) {
  google::rpc::Status status;
  status.set_code(static_cast<int>(error.code()));
  status.set_message(error.message());
  google::rpc::ErrorInfo info;
  info.set_reason(error.reason());
  info.set_domain("wring");
  if (!error.hint().empty()) (*info.mutable_metadata())["hint"] = error.hint();
  status.add_details()->PackFrom(info);
  if (!error.field().empty()) {
    google::rpc::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field(error.field());
    violation->set_description(error.message());
    status.add_details()->PackFrom(bad);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(error.code()), error.message(),
                      status.SerializeAsString());
}

Error from_status(const grpc::Status& status) {
  std::string reason = "RPC", field, hint;
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

void check(const grpc::Status& status) {
  if (!status.ok()) throw from_status(status);
}

}  // namespace wring
