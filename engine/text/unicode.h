// The Unicode facts tokenizers need: well-formed UTF-8, code points, categories, normal forms, lower case.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace wring {

// `bytes` if it is well-formed UTF-8; else a copy in `storage` where U+FFFD stands for each maximal
// ill-formed piece (Unicode 15, 3.9, "substitution of maximal subparts"). The result points into one of the
// two.
std::string_view well_formed_utf8(std::string_view bytes, std::string& storage);

struct CodePoint {
  char32_t value;
  std::size_t bytes;  // 1 to 4
};

// The code point that starts at `position` of well-formed `utf8`; position < utf8.size().
CodePoint code_point_at(std::string_view utf8, std::size_t position);
void append_utf8(std::string& out, char32_t value);

bool is_ascii(std::string_view text);
bool is_white_space(char32_t c);      // the property White_Space
bool is_word(char32_t c);             // letters, marks, decimal digits, connectors, joiners
bool is_punctuation(char32_t c);      // P*
bool is_mark(char32_t c);             // M*
bool is_nonspacing_mark(char32_t c);  // Mn
bool is_control(char32_t c);          // Cc, Cf, Co
bool is_ideograph(char32_t c);        // the blocks BERT sets apart by spaces

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string normalized(std::string_view utf8, NormalForm form);
std::string lowercased(std::string_view utf8);  // code point by code point: no final sigma

}  // namespace wring
