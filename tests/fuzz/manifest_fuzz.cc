// Any bytes as a manifest: refused with an Error, or its canonical form reads back as the same manifest.
#include "formats/manifest.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] {
    const Manifest manifest = Manifest::parse(fuzz::text_of(data, size));
    const std::string canonical = manifest.canonical();
    fuzz::require(Manifest::parse(canonical) == manifest);
    fuzz::require(Manifest::parse(canonical).canonical() == canonical);
    (void)manifest.total_bytes();
  });
}
