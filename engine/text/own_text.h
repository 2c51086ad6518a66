// A text of Wring's own, on which an export is scored where a recipe brings none.
#pragma once

#include <string_view>

namespace wring {

// Some 6 KB of English prose, a sentence a line: 1,100 to 1,500 tokens of the usual vocabularies.
std::string_view own_text();

}  // namespace wring
