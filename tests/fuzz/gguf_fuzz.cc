// Any bytes as a GGUF file: refused with an Error, or every tensor lies within the file and decodes.
#include "formats/gguf.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] {
    const GgufFile file(fuzz::view_of(data, size));
    for (const auto& tensor : file.tensors()) {
      fuzz::require(tensor.bytes <= size);
      std::vector<float> values(tensor.elements);
      file.decode(tensor, values);
    }
    for (const auto& [key, value] : file.keys()) {
      fuzz::require(file.has_key(key));
      if (std::holds_alternative<std::string>(value.value)) (void)file.string(key);
    }
  });
}
