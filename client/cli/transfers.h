// Uploads and downloads with a bar.
#pragma once

#include <map>
#include <string>

#include "client/cli/context.h"

namespace wring {

// A bar of one step over bytes, fed by a transfer.
class TransferBar {
 public:
  TransferBar(const CliContext& context, const std::string& what);
  ~TransferBar();
  TransferBar(const TransferBar&) = delete;
  TransferBar& operator=(const TransferBar&) = delete;

  TransferProgress sink();

 private:
  ProgressBar bar_;
  std::string what_;
  double started_ = 0;
  bool shown_ = false;  // nothing is drawn where nothing moves
  std::uint64_t moved_ = 0;
};

// Digest of an input given as a path or a digest; uploads with a bar where it must.
std::string input_digest(CliContext& context, const std::string& text, const std::string& kind);

// The artifact that `text` means: of a job by its id, or by its own digest.
std::string artifact_of(CliContext& context, const std::string& text);

// "NAME=PATH" apart. Throws Error(kInvalidArgument, "BAD_DATA_INPUT").
std::pair<std::string, std::string> parse_data_input(const std::string& text);

// Throws Error where the name is in `data` already.
void add_data_input(std::map<std::string, std::string>& data,
                    const std::pair<std::string, std::string>& input);

}  // namespace wring
