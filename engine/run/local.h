// The engine without any service: run, eval, generate and logits as commands.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace wring {

struct LocalOptions {
  std::string recipe;  // file, or one line
  std::filesystem::path model;
  std::vector<std::string> data;    // "NAME=PATH"
  std::filesystem::path out;        // empty for evaluate-only
  std::filesystem::path reference;  // model that evaluations compare with; empty: the input
  std::uint64_t seed = 0;
  int threads = 0;
  std::uint32_t processes = 0;
  std::string device = "cpu";
  bool json = false, quiet = false;
};

// Runs a recipe; prints a report, or JSON {artifact_digest, stages, evaluations}. Throws Error.
int run_local(const LocalOptions& options);

struct GenerateCommand {
  std::filesystem::path model;
  std::string prompt;
  std::int64_t tokens = 64;
  double temperature = 0, top_p = 1;
  std::uint64_t seed = 0;
  int threads = 0;
  std::string device = "cpu";
  bool json = false, quiet = false;  // quiet: without the prompt
};
int generate_local(const GenerateCommand& command);

struct ImatrixCommand {
  std::filesystem::path model, data, out;
  std::int64_t chunks = 32, length = 512;
  int threads = 0;
  std::string device = "cpu";
  bool quiet = false;
};

// Writes the importance of columns on a text, for exports to GGUF. Throws Error.
int imatrix_local(const ImatrixCommand& command);

// Writes the logits (encoders: hidden states) of token ids, for comparison with other implementations: `ids`
// is a JSON file
// {"input_ids": [[...]], "attention_mask": [[...]] (optional)}, `out` a safetensors file with one tensor
// "logits".
int write_logits(const std::filesystem::path& model, const std::filesystem::path& ids,
                 const std::filesystem::path& out, int threads, const std::string& device);

// Prints the token ids of a text file as a JSON list.
int print_tokens(const std::filesystem::path& model, const std::filesystem::path& text);

// Prints what each stage of a recipe would do to a model and what it would take here: layers, bytes, time,
// memory. Parts of it are tried out; nothing is written.
int plan_local(const LocalOptions& options);

}  // namespace wring
