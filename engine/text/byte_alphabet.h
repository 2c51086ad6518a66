// GPT-2's byte alphabet: 256 printable letters that spell any bytes in a vocabulary (Radford et al., 2019).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace wring {

// `bytes` spelt in the alphabet: " the" -> "Ġthe".
std::string spell_bytes(std::string_view bytes);

// The bytes a token spells; nullopt where a letter is none of the alphabet's. `token` is well-formed UTF-8.
std::optional<std::string> spelt_bytes(std::string_view token);

}  // namespace wring
