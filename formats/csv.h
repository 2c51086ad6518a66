// Comma-separated values as RFC 4180 has them: fields in double quotes may hold commas, line breaks and
// doubled quotes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace wring {

// The records of `text`, fields as they are between the commas; a last line break ends the last record. Lines
// end in LF or CRLF. Throws Error(kInvalidArgument, "BAD_CSV") that names `what` and the line where a quoted
// field does not end or goes on behind its closing quote.
std::vector<std::vector<std::string>> parse_csv(std::string_view text, std::string_view what);

}  // namespace wring
