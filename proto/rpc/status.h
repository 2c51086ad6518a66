// wring::Error over the wire: as google.rpc.Status with ErrorInfo, BadRequest and PreconditionFailure, and
// back.
#pragma once

#include <grpcpp/support/status.h>

#include <span>
#include <string>

#include "common/error.h"

namespace wring {

// Code and message; details: ErrorInfo (reason, domain "wring", metadata hint), BadRequest with the field's
// path where there is one, PreconditionFailure with a violation for each of `missing` (the first 16). Texts
// are cut at 800 bytes.
grpc::Status to_status(const Error& error, std::span<const std::string> missing = {});

// The Error that `status` carries; for statuses of others, one made of code and message (reason "RPC").
Error from_status(const grpc::Status& status);

// Whether nobody answered, or a server that stops broke the call off: made again, it may be answered. (Who
// cancels a call itself knows.)
bool is_away(const Error& error);

// Throws from_status(status).
[[noreturn]] void throw_status(const grpc::Status& status);

// Throws from_status(status) unless it is OK.
void check(const grpc::Status& status);

}  // namespace wring
