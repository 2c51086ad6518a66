// Between the scheduler's records and the API's messages.
#pragma once

#include <optional>
#include <string>

#include "server/scheduler/scheduler.h"
#include "wring/v1/jobs.pb.h"
#include "wring/v1/workers.pb.h"

namespace wring {

google::protobuf::Timestamp to_timestamp(TimeMs time);
TimeMs to_time(const google::protobuf::Timestamp& timestamp);
v1::Event to_message(const JobEvent& event);
v1::ErrorDetail to_error_detail(const Json& error);
Json to_json(const v1::ErrorDetail& error);  // keeps the last 16 KiB of the log
WorkerRecord to_record(const v1::Worker& worker);
Fence to_fence(const v1::Fence& fence);

// Throws kInvalidArgument "BAD_PROJECT" where no project can have this name.
void check_project(const std::string& name, const std::string& field);

// Throws kNotFound "PROJECT_NOT_FOUND" where a caller who sees `project` alone names another one.
void check_within(const std::string& project, const std::string& named, const std::string& field);

// Throws kInvalidArgument "BAD_REQUEST_ID" where `id` is neither empty nor a UUID.
void check_request_id(const std::string& id);
// Request ids are the caller's own: those of two projects never meet.
std::string request_key(const std::string& project, const std::string& id);
// What must be equal for a repeated request id to be the same request.
std::string request_digest(const google::protobuf::Message& request);

// The page size to use: `fallback` for 0, at most `most`; throws for a negative one.
int page_size(int asked, int fallback, int most);

}  // namespace wring
