// An engine's log: a bounded file, and its last lines for the report of a crash.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"

namespace wring {

// One thread.
class EngineLog {
 public:
  static constexpr std::uint64_t kMaxBytes = 16u << 20;
  static constexpr std::size_t kLastLines = 20;
  static constexpr std::size_t kMaxLine = 1000;  // bytes of a line that is told; longer ones are cut

  explicit EngineLog(const std::filesystem::path& path);

  // Returns the lines that end with these bytes.
  std::vector<std::string> append(std::string_view bytes);
  std::string last_lines() const;

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  std::uint64_t written_ = 0;
  std::deque<std::string> lines_;
  bool line_open_ = false;  // the newest line has not ended
};

}  // namespace wring
