// Writing the log and remembering its end.
#include "worker/engine_log.h"

#include <fcntl.h>

#include <algorithm>

#include "common/utf8.h"

namespace wring {

EngineLog::EngineLog(const std::filesystem::path& path)
    : path_(path), file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
  if (!file_) throw_io_error("create", path, errno);
}

std::vector<std::string> EngineLog::append(std::string_view bytes) {
  const auto room = bytes.substr(0, std::min<std::uint64_t>(bytes.size(), kMaxBytes - written_));
  write_all(file_.get(), std::as_bytes(std::span(room)), path_);
  written_ += room.size();
  std::vector<std::string> ended;
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    if (!line_open_) lines_.emplace_back();
    auto& line = lines_.back();
    line += bytes.substr(0, std::min(end, kMaxLine - std::min(kMaxLine, line.size())));
    line_open_ = end == std::string_view::npos;
    if (!line_open_) ended.push_back(valid_utf8(line));
    if (lines_.size() > kLastLines) lines_.pop_front();
    bytes.remove_prefix(line_open_ ? bytes.size() : end + 1);
  }
  return ended;
}

std::string EngineLog::last_lines() const {
  std::string text;
  for (const auto& line : lines_) text += valid_utf8(line) + "\n";
  return text;
}

}  // namespace wring
