// What the fuzzers of tokenizers' files do with one.
#pragma once

#include <string>
#include <string_view>

#include "engine/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace wring::fuzz {

// Spaces, digits, scripts, an emoji, bytes that are no UTF-8, what looks like a special token.
inline constexpr std::string_view kHardText =
    "a  b\tDon't 12345 na\xc3\xafve \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80\xff\xc3 [CLS]<|im_end|>\n\n";

// The model folder's file `name` holds `content`: an Error, or ids within the vocabulary.
inline int use_tokenizer(const char* name, std::string_view content) {
  return expect_error_or_success([&] {
    const TempDir folder;
    write_file_atomic(folder.path() / name, content, Durability::kProcess);
    const auto tokenizer = load_tokenizer(FileTree::on_disk(folder.path()));
    for (const bool special : {false, true}) {
      const auto ids = tokenizer->encode(kHardText, special);
      for (const auto id : ids)
        require(id >= 0 && static_cast<std::size_t>(id) < tokenizer->vocabulary_size());
      (void)tokenizer->decode(ids, !special);
    }
  });
}

}  // namespace wring::fuzz
