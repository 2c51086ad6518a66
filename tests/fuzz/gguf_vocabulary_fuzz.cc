// Any bytes as a GGUF file whose vocabulary is asked for: as tokenizer_json_fuzz.
#include "tests/fuzz/use_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return wring::fuzz::use_tokenizer("m.gguf", wring::fuzz::text_of(data, size));
}
