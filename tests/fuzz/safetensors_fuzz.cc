// Any bytes as a safetensors file: refused with an Error, or every tensor lies within the file.
#include "formats/safetensors.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] {
    const FileView view = fuzz::view_of(data, size);
    for (const auto& entry : read_safetensors_header(view).entries)
      fuzz::require(view.read(entry.offset, entry.bytes).data.size() == entry.bytes);
  });
}
