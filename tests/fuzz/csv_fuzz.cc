// Any bytes as CSV: refused with an Error, or what is written of the records reads back alike.
#include "formats/csv.h"
#include "tests/fuzz/fuzz.h"

namespace {

std::string written(const std::vector<std::vector<std::string>>& records) {
  std::string text;
  for (const auto& record : records) {
    for (std::size_t i = 0; i < record.size(); ++i) {
      text += i ? ",\"" : "\"";
      for (const char c : record[i]) text += c == '"' ? "\"\"" : std::string(1, c);
      text += '"';
    }
    text += '\n';
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] {
    const auto records = parse_csv({reinterpret_cast<const char*>(data), size}, "fuzz");
    fuzz::require(parse_csv(written(records), "again") == records);
  });
}
