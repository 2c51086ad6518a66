// Text data as token ids: the corpus of a dataset artifact, and blocks of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "formats/file_tree.h"

namespace wring {

// The text of a dataset: its *.txt files (or its only file) in path order, joined as they are. At most 4 GiB.
// Throws Error(kInvalidArgument, "EMPTY_TEXT") naming `what` where there is nothing but white space.
std::string read_corpus(const FileTree& data, const std::string& what);

// Throws as read_corpus() where the files hold nothing.
void check_not_empty(const FileTree& data, const std::string& what);

// Ids of the whole text without special tokens. Throws "EMPTY_TEXT" where that is fewer than `least` ids.
std::vector<std::int32_t> tokenize_corpus(const FileTree& data, const std::string& what,
                                          const Tokenizer& tokenizer, std::size_t least);

// Lines of 20 to 300 characters, in order, at most `count`: sentences for encoders.
std::vector<std::string> read_sentences(const FileTree& data, const std::string& what, std::size_t count);

}  // namespace wring
