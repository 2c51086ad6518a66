// What an engine says over its pipe (docs/pipe.md): bounded lines, each parsed into one of nine messages.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/digest.h"
#include "common/error.h"
#include "common/json.h"
#include "wring/v1/evaluations.pb.h"
#include "wring/v1/jobs.pb.h"
#include "wring/v1/workers.pb.h"

namespace wring {

inline constexpr std::size_t kMaxPipeLine = 16u << 20;
inline constexpr std::uint32_t kMaxSteps = 10'000;

// Cuts a stream into lines. One thread.
class LineBuffer {
 public:
  // Throws Error(kInternal, "ENGINE_PROTOCOL") once a line is longer than kMaxPipeLine.
  void append(std::string_view bytes);
  // The next whole line without its end; nullopt where there is none yet.
  std::optional<std::string> next();
  // Bytes of a line that has not ended.
  std::string_view rest() const { return std::string_view(pending_).substr(start_); }

 private:
  std::string pending_;
  std::size_t start_ = 0;    // of the first line not taken
  std::size_t scanned_ = 0;  // no line end before this
};

struct HelloLine {
  std::string version;
  std::vector<v1::Device> devices;
  std::string catalogue;
};
// 0: none.
struct Forecast {
  double seconds = 0;
  std::uint64_t peak_bytes = 0;
  std::uint64_t bytes_before = 0, bytes_after = 0;  // of the weights that a stage changes
};
struct PlannedStep {
  std::string name, kind;
  std::optional<Digest> key;  // of the output
  Forecast forecast;
  bool at_hand = false;  // nothing is left to do for it
};
struct PlanLine {
  std::vector<PlannedStep> steps;  // by index
};
struct LookupLine {
  std::uint32_t index = 0;
  Digest key;
};
struct StartedLine {
  std::uint32_t index = 0;
  std::string name;
};
struct ProgressLine {
  v1::Progress progress;
};
struct DoneLine {
  v1::StageStatus stage;
  std::optional<Digest> key;
  std::filesystem::path path;  // to keep under `key`; empty: nothing
};
struct RowsLine {
  std::vector<v1::Evaluation> rows;
};
// A folder that is to be handed in, and the manifest that it must have.
struct MadeArtifact {
  std::filesystem::path path;
  std::string kind;
  Json metadata;
  std::string digest;
};
struct ResultLine {
  MadeArtifact made;  // no path for a recipe that only evaluates
  std::vector<MadeArtifact> exports;
};
struct ErrorLine {
  Error error;
  std::int32_t index = -1;  // of the step; -1: none
};
using EngineLine = std::variant<HelloLine, PlanLine, LookupLine, StartedLine, ProgressLine, DoneLine,
                                RowsLine, ResultLine, ErrorLine>;

// Throws Error(kInternal, "ENGINE_PROTOCOL") that says what is wrong with the line: no JSON, an unknown type,
// a member that is missing or of another type, a version that is not 1.
EngineLine parse_engine_line(std::string_view line);

}  // namespace wring
