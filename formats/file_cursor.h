// Reads little-endian values of a file in order; a file that ends too early is refused by the name of the
// field.
#pragma once

#include <cstdint>
#include <cstring>
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
    std::memcpy(&value, take_bytes(sizeof value, field).data.data(), sizeof value);
    return value;
  }
  std::string take_text(std::uint64_t length, const std::string& field) {
    return std::string(take_bytes(length, field).text());
  }
  Bytes take_bytes(std::uint64_t length, const std::string& field) {
    if (length > left()) refuse(field, "the file ends in the middle of it");
    const std::uint64_t begin = at_;
    at_ += length;
    return file_.read(begin, length);
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
};

}  // namespace wring
