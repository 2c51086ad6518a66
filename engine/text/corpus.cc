// Text data as token ids.
#include "engine/text/corpus.h"

#include <algorithm>

#include "common/error.h"
#include "engine/text/unicode.h"

namespace wring {
namespace {

constexpr std::uint64_t kMaxTextBytes = 4ull << 30;

[[noreturn]] void throw_empty(const std::string& what, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "EMPTY_TEXT", why, "data." + what,
              "Hand in a UTF-8 text file with more text.");
}

void check_utf8(std::string_view text, const std::string& what, const std::string& path) {
  std::string repaired;
  const auto well_formed = well_formed_utf8(text, repaired);
  if (well_formed.data() == text.data()) return;
  const auto place = std::mismatch(text.begin(), text.end(), well_formed.begin()).first - text.begin();
  throw Error(ErrorCode::kInvalidArgument, "NOT_UTF8",
              path + " is no UTF-8 text: byte " + std::to_string(place), "data." + what,
              "Hand in UTF-8; `iconv -f LATIN1 -t UTF-8` converts what is Latin-1.");
}

}  // namespace

std::string read_corpus(const FileTree& data, const std::string& what) {
  auto paths = data.paths();
  if (paths.size() > 1) std::erase_if(paths, [](const std::string& path) { return !path.ends_with(".txt"); });
  if (paths.empty()) throw_empty(what, data.origin() + " holds no *.txt file");
  std::string text;
  for (const auto& path : paths) {
    const FileView file = data.open(path);
    if (text.size() + file.size() > kMaxTextBytes)
      throw Error(ErrorCode::kResourceExhausted, "FILE_TOO_LARGE", "more than 4 GiB of text", "data." + what);
    const auto part = file.read_all();
    check_utf8(part.text(), what, path);
    text += part.text();
  }
  const bool blank = std::all_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' '; });
  if (blank) throw_empty(what, "the text is empty");
  return text;
}

void check_not_empty(const FileTree& data, const std::string& what) {
  for (const auto& path : data.paths())
    if (data.open(path).size() > 0) return;
  throw_empty(what, data.origin() + " holds no byte");
}

std::vector<std::int32_t> tokenize_corpus(const FileTree& data, const std::string& what,
                                          const Tokenizer& tokenizer, std::size_t least) {
  auto ids = tokenizer.encode(read_corpus(data, what));
  if (ids.size() < least)
    throw_empty(what, "the text has " + std::to_string(ids.size()) + " tokens, at least " +
                          std::to_string(least) + " are needed");
  return ids;
}

std::vector<std::string> read_sentences(const FileTree& data, const std::string& what, std::size_t count) {
  const std::string text = read_corpus(data, what);
  std::vector<std::string> sentences;
  for (std::size_t start = 0; start < text.size() && sentences.size() < count;) {
    const auto end = std::min(text.find('\n', start), text.size());
    auto line = text.substr(start, end - start);
    line.erase(0, line.find_first_not_of(" \t\r"));
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line.size() >= 20 && line.size() <= 300) sentences.push_back(std::move(line));
    start = end + 1;
  }
  if (sentences.size() < 2) throw_empty(what, "fewer than two lines of 20 to 300 characters");
  return sentences;
}

}  // namespace wring
