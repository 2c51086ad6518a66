// The process's logger.
#include "common/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <chrono>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/json.h"

namespace wring {
namespace {

thread_local std::vector<std::pair<const char*, std::string>> scopes;

std::string in_utc(std::chrono::system_clock::time_point time) {
  using namespace std::chrono;
  const std::time_t seconds = system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:03}Z", text, duration_cast<milliseconds>(time.time_since_epoch()).count() % 1000);
}

// The sink formats on the thread that logs, whose scopes it can see.
class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& out) override {
    const auto text = [](spdlog::string_view_t view) { return std::string(view.data(), view.size()); };
    Json json{{"time", in_utc(line.time)},
              {"level", text(spdlog::level::to_string_view(line.level))},
              {"program", text(line.logger_name)},
              {"message", text(line.payload)}};
    for (const auto& [name, id] : scopes) json[name] = id;
    const auto written = json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    out.append(written.data(), written.data() + written.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

}  // namespace

void init_logging(const std::string& name, const std::string& level, const std::string& format) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off")
    throw Error(ErrorCode::kInvalidArgument, "BAD_LOG_LEVEL", "'" + level + "' is no log level", "log-level",
                "One of trace, debug, info, warn, error, off.");
  if (format != "text" && format != "json")
    throw Error(ErrorCode::kInvalidArgument, "BAD_LOG_FORMAT", "'" + format + "' is no log format",
                "log-format", "text or json.");
  spdlog::drop(name);
  spdlog::set_default_logger(spdlog::stderr_color_mt(name));
  if (format == "json")
    spdlog::set_formatter(std::make_unique<JsonFormatter>());
  else
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %n %^%l%$ %v");
  spdlog::set_level(parsed);
}

LogScope::LogScope(const char* name, std::string id) {
  scopes.emplace_back(name, std::move(id));
}
LogScope::~LogScope() {
  scopes.pop_back();
}

std::string LogScope::id_of(std::string_view name) {
  for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope)
    if (scope->first == name) return scope->second;
  return "";
}

void log_warning(const std::string& message) {
  spdlog::warn("{}", message);
}
void log_info(const std::string& message) {
  spdlog::info("{}", message);
}

}  // namespace wring
