// GGUF's encoders, mixes and writer as C functions, for tests/parity/ggml_parity.py and gguf_mix_parity.py.
#include <cstdio>
#include <sstream>

#include "common/error.h"
#include "formats/ggml_blocks.h"
#include "formats/gguf.h"
#include "formats/gguf_mix.h"
#include "formats/gguf_writer.h"
#include "formats/imatrix.h"

namespace {

using namespace wring;

FileView view_of(const char* path) {
  return FileView(path, {MappedFile::open(path)});
}

// Rows of a tensor, encoded one by one; each expert, the outermost dimension of three, has an importance row.
void encode(const GgufFile& file, const GgufTensor& tensor, GgmlType type,
            const std::vector<float>& importance, const ByteSink& sink) {
  std::vector<float> values(tensor.elements);
  file.decode(tensor, values);
  const auto columns = static_cast<std::size_t>(tensor.shape.back());
  const std::size_t rows = values.size() / columns;
  const std::size_t experts = importance.empty() ? 1 : importance.size() / columns;
  std::vector<std::byte> out(ggml_row_bytes(type, columns));
  for (std::size_t row = 0; row < rows; ++row) {
    const std::span<const float> weights =
        importance.empty() ? std::span<const float>()
                           : std::span(importance).subspan(row / (rows / experts) * columns, columns);
    ggml_encode(type, std::span(values).subspan(row * columns, columns), out, weights);
    sink(out);
  }
}

void quantise(const char* in, const char* out, const char* file_type, const char* imatrix_path,
              const char* overrides) {
  const GgufFile file(view_of(in));
  const std::string architecture = file.string("general.architecture");
  const auto fact = [&](const char* name) {
    const std::string key = architecture + "." + name;
    return file.has_key(key) ? static_cast<int>(file.integer(key)) : 0;
  };
  const GgufModelFacts model{architecture, fact("block_count"), fact("attention.head_count"),
                             fact("attention.head_count_kv"), fact("expert_count")};
  std::vector<GgufTensorShape> shapes;
  for (const auto& tensor : file.tensors()) shapes.push_back({tensor.name, tensor.shape});
  std::vector<GgmlTypeOverride> patterns;
  std::istringstream lines(overrides);
  for (std::string line; std::getline(lines, line);) patterns.push_back(parse_ggml_type_override(line));
  const Imatrix imatrix = *imatrix_path ? read_imatrix(view_of(imatrix_path)) : Imatrix();
  const auto& type = gguf_file_type(file_type);
  const auto types = choose_ggml_types(type, model, shapes, *imatrix_path != 0, patterns);

  std::vector<GgufTensorToWrite> tensors;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const auto& tensor = file.tensors()[i];
    const std::uint64_t experts = tensor.shape.size() > 2 ? static_cast<std::uint64_t>(tensor.shape[0]) : 1;
    const auto importance =
        imatrix.importance(tensor.name, static_cast<std::uint64_t>(tensor.shape.back()), experts);
    tensors.push_back({tensor.name, types[i], tensor.shape, [&, i, importance](const ByteSink& sink) {
                         encode(file, file.tensors()[i], types[i], importance, sink);
                       }});
  }
  const std::vector<GgufKeyToWrite> keys{{"general.architecture", architecture},
                                         {"general.quantization_version", std::uint32_t{2}},
                                         {"general.file_type", type.id}};
  write_gguf(out, keys, tensors, Durability::kProcess);
}

}  // namespace

// Encodes `rows` rows of `columns` values; `importance` is null or holds one a column. `out` holds all rows'
// bytes.
extern "C" void wring_ggml_encode(std::uint32_t type, const float* values, std::uint64_t rows,
                                  std::uint64_t columns, const float* importance, std::byte* out) {
  const auto id = static_cast<GgmlType>(type);
  const auto bytes = ggml_row_bytes(id, columns);
  const std::span<const float> weights(importance, importance ? columns : 0);
  for (std::uint64_t row = 0; row < rows; ++row)
    ggml_encode(id, {values + row * columns, columns}, {out + row * bytes, bytes}, weights);
}

// Quantises the GGUF file `in` as llama-quantize would. `imatrix` may be empty; `overrides` has one a line.
// Returns 0, or 1 and says on stderr why.
extern "C" int wring_quantise_gguf(const char* in, const char* out, const char* file_type,
                                   const char* imatrix, const char* overrides) {
  try {
    quantise(in, out, file_type, imatrix, overrides);
    return 0;
  } catch (...) {
    std::fputs(describe(current_error()).c_str(), stderr);
    return 1;
  }
}
