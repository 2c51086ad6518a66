// Importance matrices of llama.cpp: mean squared inputs of every weight, read in both forms and written as
// GGUF.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/files.h"
#include "formats/file_tree.h"

namespace wring {

// Of one weight: squared inputs summed over tokens, [experts, columns], and the tokens that each sum saw,
// [experts]. The old form has one count for all experts.
struct ImatrixEntry {
  std::vector<float> sums;
  std::vector<float> counts;
};

struct Imatrix {
  std::map<std::string, ImatrixEntry> entries;  // by the weight's name in GGUF, "blk.0.attn_q.weight"
  std::vector<std::string> datasets;
  std::uint32_t chunk_count = 0, chunk_size = 0;  // tokens were read in so many chunks of so many

  // The importance rows of a weight, [experts, columns], as llama-quantize takes them: sum / count, and 1 for
  // experts that saw no token. Empty where there is no entry. Throws Error(kInvalidArgument, "IMATRIX_SHAPE")
  // where the entry is of another size; of the token embedding such an entry counts as none.
  std::vector<float> importance(const std::string& weight, std::uint64_t columns,
                                std::uint64_t experts = 1) const;
};

// Reads the GGUF form, or the binary one (.dat) of before 2025. Counts and lengths are compared with the
// file's size before anything is allocated. Throws Error(kInvalidArgument, "BAD_IMATRIX" or "BAD_GGUF") that
// names the entry.
Imatrix read_imatrix(const FileView& file);

// Writes the GGUF form, byte for byte as llama-imatrix lays it out.
void write_imatrix(const std::filesystem::path& path, const Imatrix& imatrix,
                   Durability durability = Durability::kMachine);

}  // namespace wring
