// wring::Error over the wire: as google.rpc.Status with ErrorInfo, BadRequest and Help, and back.
#pragma once

#include <grpcpp/support/status.h>

#include "common/error.h"

namespace wring {

// Code and message; details: ErrorInfo (reason, domain "wring", metadata hint), BadRequest with the field's path.
grpc::Status to_status(const Error& error);

// The Error that `status` carries; for statuses of others, one made of code and message.
Error from_status(const grpc::Status& status);

// Throws from_status(status) unless it is OK.
void check(const grpc::Status& status);

}  // namespace wring
