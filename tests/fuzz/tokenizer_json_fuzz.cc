// Any bytes as a tokenizer.json: refused with an Error, or a hard text's ids lie in the vocabulary and are
// text again.
#include "tests/fuzz/use_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return wring::fuzz::use_tokenizer("tokenizer.json", wring::fuzz::text_of(data, size));
}
