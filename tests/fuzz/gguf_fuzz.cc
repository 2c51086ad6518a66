// Any bytes as a GGUF file: refused with an Error, or every tensor decodes, and what is written of it reads
// back alike.
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace wring;

void write_again(const GgufFile& file, const std::filesystem::path& path) {
  std::vector<GgufKeyToWrite> keys;
  for (const auto& [name, key] : file.keys())
    if (name != "general.alignment")  // its type is wider by now
      keys.push_back({name, std::visit([](const auto& value) { return GgufStored(value); }, key.value)});
  std::vector<GgufTensorToWrite> tensors;
  for (const auto& tensor : file.tensors())
    tensors.push_back(
        {tensor.name, tensor.type, tensor.shape, [&](const ByteSink& sink) { sink(file.raw(tensor).data); }});
  write_gguf(path, keys, tensors, Durability::kProcess);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::expect_error_or_success([&] {
    const GgufFile file(fuzz::view_of(data, size));
    for (const auto& tensor : file.tensors()) {
      fuzz::require(tensor.bytes <= size);
      std::vector<float> values(tensor.elements);
      file.decode(tensor, values);
    }
    for (const auto& [key, value] : file.keys()) {
      fuzz::require(file.has_key(key));
      if (std::holds_alternative<std::string>(value.value)) (void)file.string(key);
    }
    const TempDir folder;
    write_again(file, folder.path() / "m.gguf");
    const GgufFile again(FileTree::on_disk(folder.path()).open("m.gguf"));
    fuzz::require(again.keys().size() + file.has_key("general.alignment") == file.keys().size());
    fuzz::require(again.tensors().size() == file.tensors().size());
    for (const auto& tensor : file.tensors()) {
      const auto& other = again.tensor(tensor.name);
      fuzz::require(other.type == tensor.type && other.shape == tensor.shape);
      fuzz::require(again.raw(other).text() == file.raw(tensor).text());
    }
  });
}
