// What the tests of formats share: bytes as files, and what an Error said.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "formats/file_tree.h"

namespace wring {

// Bytes built value by value, little-endian.
class ByteString {
 public:
  template <typename T>
  ByteString& add(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  ByteString& text(std::string_view text) {
    text_ += text;
    return *this;
  }
  ByteString& counted(std::string_view name) { return add(std::uint64_t{name.size()}).text(name); }
  ByteString& pad_to(std::size_t alignment) {
    text_.append((alignment - text_.size() % alignment) % alignment, '\0');
    return *this;
  }
  const std::string& str() const { return text_; }

 private:
  std::string text_;
};

inline FileView view_of(const TempDir& folder, const std::string& name, std::string_view content) {
  write_file_atomic(folder.path() / name, content);
  return FileView(name, {MappedFile::open(folder.path() / name)});
}

// The Error that `body` throws; the test fails where it throws none.
template <typename Body>
Error error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no Error was thrown";
  return Error(ErrorCode::kUnknown, "NOTHING", "nothing was thrown");
}

}  // namespace wring
