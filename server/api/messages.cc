// Conversions of messages.
#include "server/api/messages.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <charconv>

#include "common/digest.h"
#include "common/error.h"
#include "common/ids.h"
#include "common/short_name.h"

namespace wring {

google::protobuf::Timestamp to_timestamp(TimeMs time) {
  google::protobuf::Timestamp t;
  t.set_seconds(time / 1000);
  t.set_nanos(static_cast<int>(time % 1000) * 1'000'000);
  return t;
}

TimeMs to_time(const google::protobuf::Timestamp& timestamp) {
  return timestamp.seconds() * 1000 + timestamp.nanos() / 1'000'000;
}

v1::Event to_message(const JobEvent& event) {
  v1::Event message;
  message.set_number(event.number);
  *message.mutable_time() = to_timestamp(event.time);
  message.set_type(event.type);
  message.set_state(static_cast<v1::JobState>(event.phase));
  message.set_attempt(event.attempt);
  message.set_payload_json(event.payload.dump());
  return message;
}

v1::ErrorDetail to_error_detail(const Json& e) {
  v1::ErrorDetail detail;
  detail.set_code(json_or<std::string>(e, "code", "UNKNOWN"));
  detail.set_reason(json_or<std::string>(e, "reason", ""));
  detail.set_message(json_or<std::string>(e, "message", ""));
  detail.set_field(json_or<std::string>(e, "field", ""));
  detail.set_hint(json_or<std::string>(e, "hint", ""));
  detail.set_stage(json_or<int>(e, "stage", -1));
  detail.set_signal(json_or<int>(e, "signal", 0));
  detail.set_last_log(json_or<std::string>(e, "last_log", ""));
  return detail;
}

namespace {

// The end of `text`, from the start of a line or at least of a character.
std::string tail(const std::string& text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  auto start = text.find('\n', text.size() - bytes);
  if (start == std::string::npos) start = text.size() - bytes;
  while (start < text.size() && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) ++start;
  return text.substr(start);
}

}  // namespace

Json to_json(const v1::ErrorDetail& e) {
  return {{"code", e.code()},       {"reason", e.reason()},
          {"message", e.message()}, {"field", e.field()},
          {"hint", e.hint()},       {"stage", e.stage()},
          {"signal", e.signal()},   {"last_log", tail(e.last_log(), 16384)}};
}

WorkerRecord to_record(const v1::Worker& worker) {
  WorkerRecord record;
  record.id = worker.id();
  record.draining = worker.draining();
  for (const auto& device : worker.devices()) {
    ++record.devices[device.kind()];
    if (device.kind() == "cpu")  // where an engine's memory is, and what jobs ask for
      record.memory_bytes = std::max<std::uint64_t>(record.memory_bytes, device.memory_bytes());
  }
  record.methods.insert(worker.methods().begin(), worker.methods().end());
  record.classes.insert(worker.classes().begin(), worker.classes().end());
  return record;
}

void check_project(const std::string& name, const std::string& field) {
  if (is_short_name(name)) return;
  throw Error(ErrorCode::kInvalidArgument, "BAD_PROJECT",
              "'" + name.substr(0, 80) + "' cannot be the name of a project", field,
              "1 to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit.");
}

void check_within(const std::string& project, const std::string& named, const std::string& field) {
  if (!project.empty() && named != project)
    throw Error(ErrorCode::kNotFound, "PROJECT_NOT_FOUND", "there is no project " + named, field,
                "Your token is of project " + project + ".");
}

void check_request_id(const std::string& id) {
  if (id.empty() || is_uuid(id)) return;
  throw Error(ErrorCode::kInvalidArgument, "BAD_REQUEST_ID", "a request id is a UUID", "request_id",
              "For instance the one that uuidgen prints; or none.");
}

std::string request_key(const std::string& project, const std::string& id) {
  return project.empty() || id.empty() ? id : project + " " + id;
}

std::string request_digest(const google::protobuf::Message& request) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    request.SerializeToCodedStream(&coded);
  }
  return sha256(bytes).hex();
}

Fence to_fence(const v1::Fence& fence) {
  return {fence.epoch(), fence.n()};
}

int page_size(int asked, int fallback, int most) {
  if (asked < 0)
    throw Error(ErrorCode::kInvalidArgument, "BAD_PAGE_SIZE", std::to_string(asked) + " is negative",
                "page_size");
  return asked == 0 ? fallback : std::min(asked, most);
}

}  // namespace wring
