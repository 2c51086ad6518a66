// Parsing of the engine's lines. Nothing of them is trusted: an engine may be of another release, or broken.
#include "worker/pipe.h"

#include <cmath>
#include <limits>

namespace wring {
namespace {

constexpr const char* kWhat = "a line from the engine";

[[noreturn]] void throw_protocol(const std::string& message) {
  throw Error(ErrorCode::kInternal, "ENGINE_PROTOCOL", message, "",
              "Install worker and engine of one release.");
}

template <typename T>
T at(const Json& json, const char* key) {
  return json_at<T>(json, key, kWhat);
}
template <typename T>
T get(const Json& json, const char* key, T fallback = {}) {
  return json_or<T>(json, key, fallback, kWhat);
}

std::uint32_t index_of(const Json& json) {
  const auto index = at<std::int64_t>(json, "index");
  if (index < 0 || index >= kMaxSteps) throw_protocol("the engine names a step " + std::to_string(index));
  return static_cast<std::uint32_t>(index);
}

std::optional<Digest> key_of(const Json& json) {
  const auto key = get<std::string>(json, "key");
  if (key.empty()) return std::nullopt;
  return Digest::parse(key);
}

// JSON has no NaN; the engine writes it as null.
double number(const Json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return std::numeric_limits<double>::quiet_NaN();
  return at<double>(json, key);
}

HelloLine parse_hello(const Json& json) {
  if (at<int>(json, "v") != 1)
    throw_protocol("the engine speaks version " + json.at("v").dump() + " of the pipe, the worker 1");
  HelloLine hello{get<std::string>(json, "version"), {}, get<std::string>(json, "catalogue")};
  for (const auto& entry : at<std::vector<Json>>(json, "devices")) {
    v1::Device device;
    device.set_kind(at<std::string>(entry, "kind"));
    device.set_index(get<std::uint32_t>(entry, "index"));
    device.set_name(get<std::string>(entry, "name"));
    device.set_memory_bytes(get<std::uint64_t>(entry, "memory_bytes"));
    device.set_threads(get<std::uint32_t>(entry, "threads"));
    device.set_pci_bus_id(get<std::string>(entry, "pci_bus_id"));
    hello.devices.push_back(device);
  }
  return hello;
}

PlanLine parse_plan(const Json& json) {
  PlanLine plan;
  for (const auto& entry : at<std::vector<Json>>(json, "steps")) {
    if (index_of(entry) != plan.steps.size())
      throw_protocol("the steps of the engine's plan are not in order");
    const Json forecast = get<Json>(entry, "forecast", Json::object());
    plan.steps.push_back(
        {at<std::string>(entry, "name"),
         get<std::string>(entry, "kind"),
         key_of(entry),
         {get<double>(forecast, "seconds"), get<std::uint64_t>(forecast, "peak_bytes"),
          get<std::uint64_t>(forecast, "bytes_before"), get<std::uint64_t>(forecast, "bytes_after")},
         get<bool>(entry, "at_hand")});
  }
  return plan;
}

ProgressLine parse_progress(const Json& json) {
  v1::Progress progress;
  progress.set_stage(index_of(json));
  progress.set_done(get<std::uint64_t>(json, "done"));
  progress.set_total(get<std::uint64_t>(json, "total"));
  progress.set_unit(get<std::string>(json, "unit"));
  progress.set_metric(get<std::string>(json, "metric"));
  progress.set_value(number(json, "value"));
  progress.set_eta_seconds(get<double>(json, "eta_seconds"));
  return {progress};
}

DoneLine parse_done(const Json& json) {
  DoneLine done{.key = key_of(json), .path = get<std::string>(json, "path")};
  done.stage.set_index(index_of(json));
  done.stage.set_name(get<std::string>(json, "name"));
  done.stage.set_state(get<bool>(json, "cached") ? "cached" : "done");
  done.stage.set_seconds(get<double>(json, "seconds"));
  done.stage.set_peak_bytes(get<std::uint64_t>(json, "peak_bytes"));
  done.stage.set_key(done.key ? done.key->hex() : "");
  done.stage.set_report_json(get<Json>(json, "report", Json::object()).dump());
  return done;
}

v1::Evaluation parse_row(const Json& json) {
  v1::Evaluation row;
  row.set_suite(at<std::string>(json, "suite"));
  row.set_metric(at<std::string>(json, "metric"));
  row.set_value(at<double>(json, "value"));  // an engine refuses what is not finite
  row.set_unit(get<std::string>(json, "unit"));
  row.set_n(get<std::uint64_t>(json, "n"));
  if (const auto value = number(json, "stderr"); !std::isnan(value)) row.set_stderr(value);
  if (const auto value = number(json, "baseline_value"); !std::isnan(value)) row.set_baseline_value(value);
  if (const auto value = number(json, "change_stderr"); !std::isnan(value)) row.set_change_stderr(value);
  row.set_seed(get<std::uint64_t>(json, "seed"));
  row.set_hardware(get<std::string>(json, "hardware"));
  row.set_when(get<std::string>(json, "when"));
  row.set_text(get<std::string>(json, "text"));
  if (const auto details = get<Json>(json, "details"); !details.is_null())
    row.set_details_json(details.dump());
  row.set_artifact(get<std::string>(json, "artifact"));
  return row;
}

MadeArtifact parse_made(const Json& json) {
  return {get<std::string>(json, "path"), get<std::string>(json, "kind", "model"),
          get<Json>(json, "metadata", Json::object()), get<std::string>(json, "digest")};
}

ResultLine parse_result(const Json& json) {
  ResultLine result{parse_made(json), {}};
  for (const auto& exported : get<std::vector<Json>>(json, "exports"))
    result.exports.push_back(parse_made(exported));
  return result;
}

EngineLine parse(const Json& json) {
  const auto type = at<std::string>(json, "type");
  if (type == "hello") return parse_hello(json);
  if (type == "plan") return parse_plan(json);
  if (type == "lookup") return LookupLine{index_of(json), Digest::parse(at<std::string>(json, "key"))};
  if (type == "step_started") return StartedLine{index_of(json), get<std::string>(json, "name")};
  if (type == "progress") return parse_progress(json);
  if (type == "step_done") return parse_done(json);
  if (type == "evaluation") {
    RowsLine rows;
    for (const auto& row : at<std::vector<Json>>(json, "rows")) rows.rows.push_back(parse_row(row));
    return rows;
  }
  if (type == "result") return parse_result(json);
  if (type == "error")
    return ErrorLine{Error::from_json(at<Json::object_t>(json, "error")),
                     get<std::int32_t>(json, "index", -1)};
  throw_protocol("the engine sent a message of unknown type '" + type.substr(0, 80) + "'");
}

}  // namespace

void LineBuffer::append(std::string_view bytes) {
  if (start_ > 0 && start_ == pending_.size()) {
    pending_.clear();
    start_ = scanned_ = 0;
  }
  pending_ += bytes;
  const auto last_end = pending_.rfind('\n');
  const auto open = last_end == std::string::npos || last_end < start_ ? start_ : last_end + 1;
  if (pending_.size() - open > kMaxPipeLine)
    throw_protocol("the engine sent a line of more than " + std::to_string(kMaxPipeLine) + " bytes");
}

std::optional<std::string> LineBuffer::next() {
  const auto end = pending_.find('\n', scanned_);
  if (end == std::string::npos) {
    pending_.erase(0, start_);
    start_ = 0;
    scanned_ = pending_.size();
    return std::nullopt;
  }
  auto line = pending_.substr(start_, end - start_);
  start_ = scanned_ = end + 1;
  if (line.size() > kMaxPipeLine)
    throw_protocol("the engine sent a line of more than " + std::to_string(kMaxPipeLine) + " bytes");
  return line;
}

EngineLine parse_engine_line(std::string_view line) {
  try {
    return parse(parse_json(line, kWhat));
  } catch (const Error& error) {
    if (error.reason() == "ENGINE_PROTOCOL") throw;
    throw_protocol(error.what());
  } catch (const Json::exception& error) {
    throw_protocol(std::string("a line from the engine: ") + error.what());
  }
}

}  // namespace wring
