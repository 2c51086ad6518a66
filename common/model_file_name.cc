// Letters of other alphabets are left out: files travel between systems that spell them differently.
#include "common/model_file_name.h"

namespace wring {
namespace {

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}

}  // namespace

std::string model_file_name(std::string_view label) {
  constexpr std::string_view kGguf = ".gguf";
  constexpr std::size_t kMost = 100;
  if (label.ends_with(kGguf)) label.remove_suffix(kGguf.size());
  std::string name;
  for (const char c : label)
    if (name.size() < kMost && (is_plain(c) || !name.ends_with('-'))) name += is_plain(c) ? c : '-';
  const auto first = name.find_first_not_of(".-"), last = name.find_last_not_of(".-");
  return first == std::string::npos ? "model" : name.substr(first, last + 1 - first);
}

}  // namespace wring
