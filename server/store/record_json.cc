// A job's record to JSON and back.
#include "server/store/record_json.h"

namespace wring {

Json to_json(const JobRecord& r) {
  return {{"id", r.id},
          {"sequence", r.sequence},
          {"phase", static_cast<int>(r.phase)},
          {"paused", r.paused},
          {"needs",
           {{"device", r.needs.device},
            {"device_count", r.needs.device_count},
            {"memory_bytes", r.needs.memory_bytes},
            {"methods", r.needs.methods},
            {"outgrown_bytes", r.needs.outgrown_bytes},
            {"worker_class", r.needs.worker_class}}},
          {"attempt", r.attempt},
          {"attempt_base", r.attempt_base},
          {"max_attempts", r.max_attempts},
          {"priority", r.priority},
          {"project", r.project},
          {"failures", r.failures},
          {"worker", r.worker},
          {"fence", {r.fence.epoch, r.fence.n}},
          {"not_before", r.not_before},
          {"queued_timeout", r.queued_timeout},
          {"total_timeout", r.total_timeout},
          {"queued_until", r.queued_until},
          {"total_until", r.total_until},
          {"max_runtime", r.max_runtime},
          {"attempt_until", r.attempt_until},
          {"create_time", r.create_time},
          {"start_time", r.start_time},
          {"end_time", r.end_time},
          {"crash_signature", r.crash_signature},
          {"request_id", r.request_id},
          {"told_outcome", r.told_outcome},
          {"reported", r.reported},
          {"prefixes", r.prefixes},
          {"stages_made", r.stages_made},
          {"result", r.result},
          {"error", r.error ? *r.error : Json()},
          {"last_event", r.last_event},
          {"version", r.version}};
}

JobRecord record_from_json(const Json& j) {
  JobRecord r;
  r.id = j.at("id");
  r.sequence = j.at("sequence");
  r.phase = static_cast<JobPhase>(j.at("phase").get<int>());
  const Json& needs = j.at("needs");
  r.needs = {needs.at("device"), needs.at("device_count"), needs.at("memory_bytes"), needs.at("methods"),
             needs.value("outgrown_bytes", std::uint64_t{0})};
  r.attempt = j.at("attempt");
  r.attempt_base = j.at("attempt_base");
  r.max_attempts = j.at("max_attempts");
  r.priority = j.value("priority", r.priority);  // 0.1.0 stored none of these seven
  r.paused = j.value("paused", r.paused);
  r.project = j.value("project", r.project);
  r.queued_timeout = j.value("queued_timeout", r.queued_timeout);
  r.total_timeout = j.value("total_timeout", r.total_timeout);
  r.queued_until = j.value("queued_until", r.queued_until);
  r.total_until = j.value("total_until", r.total_until);
  r.failures = j.at("failures");
  r.worker = j.at("worker");
  r.fence = {j.at("fence").at(0), j.at("fence").at(1)};
  r.needs.worker_class = needs.value("worker_class", std::string());
  r.not_before = j.at("not_before");
  r.create_time = j.at("create_time");
  r.start_time = j.at("start_time");
  r.end_time = j.at("end_time");
  r.crash_signature = j.at("crash_signature");
  r.told_outcome = j.at("told_outcome");
  r.reported = j.at("reported").get<std::set<std::pair<std::uint32_t, std::string>>>();
  r.prefixes = j.value("prefixes", r.prefixes);  // nor did it these three
  r.stages_made = j.value("stages_made", r.stages_made);
  r.request_id = j.value("request_id", r.request_id);
  r.result = j.at("result");
  if (!j.at("error").is_null()) r.error = j.at("error");
  r.last_event = j.at("last_event");
  r.version = j.at("version");
  r.max_runtime = j.value("max_runtime", r.max_runtime);
  r.attempt_until = j.value("attempt_until", r.attempt_until);
  return r;
}

}  // namespace wring
