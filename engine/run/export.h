// Exports as a command: write, read back in a fresh process, measure, and only then show the folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace wring {

struct ExportCommand {
  std::filesystem::path model;   // Wring artifact, or any model that the engine reads
  std::string to;                // "gguf(type=Q4_K_M)"
  std::filesystem::path out;     // must not exist
  std::filesystem::path text;    // scored on; empty: a text of Wring's own
  std::filesystem::path claims;  // the claims are kept there for verify, where it is given
  std::string windows = "8";
  int threads = 0;
  bool no_score = false;  // on neither
  bool json = false;
};

// Prints a report, or JSON {format, params, path, weights, tensors, tensor_bytes, file_bytes,
// bits_per_weight, evaluations}, and not_scored with the reason where there are none. Throws Error; nothing
// stays at `out` then.
int export_model(const ExportCommand& command);

struct VerifyCommand {
  std::filesystem::path path, claims;
  int threads = 0;
  bool json = true;  // it prints nothing else
};

// What export_model() starts a fresh process for. Prints JSON. Throws Error(kInternal, "EXPORT_DIFFERS").
int verify_local(const VerifyCommand& command);

}  // namespace wring
