// Text from outside: whether it is clean UTF-8, and how to cut it short without breaking a character.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace wring {

// The offset of the first byte that begins no well-formed UTF-8 character, or that is a control character
// other than tab, line feed and carriage return; npos where there is none.
std::size_t unclean_text_at(std::string_view text);

// At most `most` bytes of well-formed `text`, whole characters only, with "..." where something was cut off.
std::string shortened(std::string_view text, std::size_t most);

}  // namespace wring
