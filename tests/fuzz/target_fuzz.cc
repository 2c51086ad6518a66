// Any bytes as the target of an HTTP request: refused with an Error, or its parts are UTF-8.
#include "common/utf8.h"
#include "server/http/target.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] {
    const Target target = parse_target(std::string(fuzz::text_of(data, size)));
    for (const auto& [name, value] : target.query)
      fuzz::require(valid_utf8(name) == name && valid_utf8(value) == value);
  });
}
