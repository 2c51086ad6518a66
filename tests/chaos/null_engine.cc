// Stands in the place of wring-engine where the service is on trial, not the arithmetic: answers for any
// recipe of one stage, sleeps for 50 ms and hands in a file that names the stage. Loads no libtorch.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <thread>

#include "common/digest.h"
#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "formats/manifest.h"
#include "recipe/spec.h"

namespace {

using namespace wring;

constexpr int kFromAgent = 3, kToAgent = 4;
constexpr auto kWork = std::chrono::milliseconds(50);

Json hello() {
  const Json cpu{{"kind", "cpu"}, {"index", 0}, {"name", "none"}, {"memory_bytes", 1u << 30}, {"threads", 1}};
  return {{"type", "hello"},
          {"v", 1},
          {"version", WRING_VERSION},
          {"devices", Json::array({cpu})},
          {"catalogue", Catalogue::embedded().digest().hex()}};
}

void send(const Json& message) {
  const std::string line = message.dump() + "\n";
  write_all(kToAgent, std::as_bytes(std::span(line)), "the pipe to the agent");
}

// The first line; where the agent is gone, the end.
Json receive() {
  std::string line;
  for (char c = 0; c != '\n'; line.push_back(c))
    if (::read(kFromAgent, &c, 1) != 1) ::_exit(1);
  return parse_json(line, "the agent's line");
}

void run_job() {
  send(hello());
  const Json start = receive();
  const Json& stage = start.at("recipe").at("stages").at(0);
  const std::string name = stage.at("method");
  send({{"type", "plan"},
        {"steps", Json::array({{{"index", 0}, {"name", name}, {"kind", "stage"}, {"key", ""}},
                               {{"index", 1}, {"name", "size"}, {"kind", "evaluation"}, {"key", ""}}})}});
  send({{"type", "step_started"}, {"index", 0}, {"name", name}});
  std::this_thread::sleep_for(kWork);
  const std::filesystem::path out = start.at("out").get<std::string>();
  std::filesystem::create_directories(out);
  write_file_atomic(out / "stage.json", stage.dump());
  send({{"type", "step_done"}, {"index", 0}, {"name", name}, {"seconds", 0.05}});
  const auto digest = build_manifest(out, "model").digest().hex();
  const Json row{{"suite", "size"},
                 {"metric", "artifact_bytes"},
                 {"value", stage.dump().size()},
                 {"unit", "bytes"},
                 {"n", 1},
                 {"when", "after"},
                 {"artifact", digest}};
  send({{"type", "evaluation"}, {"rows", Json::array({row})}});
  send({{"type", "step_done"}, {"index", 1}, {"name", "size"}, {"seconds", 0.0}});
  send({{"type", "result"}, {"path", out.string()}, {"kind", "model"}, {"digest", digest}});
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  try {
    if (command == "devices") std::puts(hello().dump().c_str());
    if (command == "job") run_job();
    return command == "devices" || command == "job" ? 0 : 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
