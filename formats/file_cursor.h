// Reads little-endian values of a file in order; a file that ends too early is refused by the name of the
// field.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "common/error.h"
#include "formats/file_tree.h"

namespace wring {

// The hint of an error about a file's bytes.
inline constexpr const char* kDamaged = "Cut off or damaged: fetch the file again, or write it anew.";

// Throws Error(kInvalidArgument, `reason`) that names file and field. `file` must outlive the cursor.
class FileCursor {
 public:
  FileCursor(const FileView& file, std::string reason) : file_(file), reason_(std::move(reason)) {}

  template <typename T>
  T take(const std::string& field) {
    T value;
    std::memcpy(&value, take_bytes(sizeof value, field).data(), sizeof value);
    return value;
  }
  std::string take_text(std::uint64_t length, const std::string& field) {
    const auto bytes = take_bytes(length, field);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // Valid until the next call. Read by windows: to let go of what was read costs a call of the system.
  std::span<const std::byte> take_bytes(std::uint64_t length, const std::string& field) {
    constexpr std::uint64_t kWindow = 1 << 20;
    if (length > left()) refuse(field, "the file ends in the middle of it");
    if (at_ + length > window_at_ + window_.data.size()) {
      window_ = file_.read(at_, std::min(left(), std::max(length, kWindow)));
      window_at_ = at_;
    }
    const std::uint64_t begin = at_ - window_at_;
    at_ += length;
    return window_.data.subspan(begin, length);
  }

  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return file_.size() - at_; }
  const FileView& file() const { return file_; }

  [[noreturn]] void refuse(const std::string& field, const std::string& why) const {
    throw Error(ErrorCode::kInvalidArgument, reason_, file_.name() + ": " + why, field, kDamaged);
  }

 private:
  const FileView& file_;
  std::string reason_;
  std::uint64_t at_ = 0;
  Bytes window_;
  std::uint64_t window_at_ = 0;
};

}  // namespace wring
