// What a model's files are called.
#pragma once

#include <string>
#include <string_view>

namespace wring {

// Of what people call it ("SmolLM2 135M.gguf": "SmolLM2-135M"): letters, digits, '.', '_' and '-' as they
// are, whatever else is between them as one '-', 100 bytes at most; "model" where nothing is left.
std::string model_file_name(std::string_view label);

}  // namespace wring
