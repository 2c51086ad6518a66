// Any bytes as an importance matrix: refused with an Error, or what is written of it reads back alike.
#include "formats/imatrix.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] {
    const Imatrix imatrix = read_imatrix(fuzz::view_of(data, size));
    const TempDir folder;
    write_imatrix(folder.path() / "imatrix.gguf", imatrix, Durability::kProcess);
    const Imatrix again = read_imatrix(FileTree::on_disk(folder.path()).open("imatrix.gguf"));
    fuzz::require(again.entries.size() == imatrix.entries.size() && again.datasets == imatrix.datasets);
    for (const auto& [name, entry] : imatrix.entries) {
      fuzz::require(again.entries.at(name).sums == entry.sums &&
                    again.entries.at(name).counts == entry.counts);
      fuzz::require(imatrix.importance(name, entry.sums.size()) == again.importance(name, entry.sums.size()));
    }
  });
}
