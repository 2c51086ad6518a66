// Tokenizes for the parity scripts. wring_tokenize MODEL reads JSON lines {"text", "special"} from standard
// input and answers each with {"ids", "text" (decoded), "seconds"}; wring_tokenize --tokenizer-json FILE.gguf
// prints what artifacts carry in a GGUF vocabulary's place.
#include <chrono>
#include <iostream>
#include <string>

#include "common/error.h"
#include "common/json.h"
#include "engine/text/gguf_tokenizer_json.h"
#include "engine/text/tokenizer.h"

namespace {

wring::Json answer(const wring::Tokenizer& tokenizer, const wring::Json& request) {
  const auto text = wring::json_at<std::string>(request, "text", "request");
  const auto start = std::chrono::steady_clock::now();
  const auto ids = tokenizer.encode(text, wring::json_or(request, "special", false));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return {{"ids", ids}, {"text", tokenizer.decode(ids)}, {"seconds", seconds.count()}};
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 3 && std::string_view(argv[1]) == "--tokenizer-json") {
    const auto tree = wring::FileTree::on_disk(argv[2]);
    std::cout << wring::tokenizer_json_from_gguf(wring::GgufFile(tree.open(tree.paths().at(0)))).dump()
              << "\n";
    return 0;
  }
  if (argc != 2) {
    std::cerr << "usage: wring_tokenize MODEL < REQUESTS, or wring_tokenize --tokenizer-json FILE.gguf\n";
    return 2;
  }
  const auto tokenizer = wring::load_tokenizer(wring::FileTree::on_disk(argv[1]));
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(*tokenizer, wring::parse_json(line, "request")).dump() << "\n";
  }
  return 0;
} catch (...) {
  const auto error = wring::current_error();
  std::cerr << wring::describe(error);
  return wring::exit_status(error.code());
}
