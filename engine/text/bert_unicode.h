// BERT's character classes as Hugging Face `tokenizers` has them: those of Unicode 8, not of today.
#pragma once

namespace wring {

bool is_bert_punctuation(char32_t c);  // P* and every ASCII symbol
bool is_bert_control(char32_t c);      // Cc, Cf, Co; line ends and tabs too
bool is_bert_accent(char32_t c);       // Mn

}  // namespace wring
