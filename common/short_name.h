// Names that are typed, and stand in paths and URLs: projects, classes of workers.
#pragma once

#include <algorithm>
#include <string_view>

namespace wring {

// 1 to 63 of a-z, 0-9, '.', '_', '-', the first a letter or a digit.
inline bool is_short_name(std::string_view text) {
  const auto is_word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !text.empty() && text.size() <= 63 && is_word(text[0]) &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return is_word(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace wring
