// The check of an export: its files read back by this engine's importers and compared with what was meant.
#pragma once

#include <filesystem>

#include "common/json.h"

namespace wring {

// `claims` as write_checked_export() makes them. Every weight and parameter must be equal to the bit, the
// files hold the claimed tensors, none more and none less, the configuration means what it did, a GGUF's keys
// and the files beside the weights are the claimed ones, and the tensors' bytes within 1 % of those worked
// out from the model (asked_bytes.h); an ONNX graph is run beside the model too. Returns {weights, tensors,
// tensor_bytes, file_bytes, bits_per_weight} and, of a graph, graph_distance (check_onnx_graph()), of a GGUF
// tensor_types (how many of each), and left_out where the claims name any; the bits are of the files, headers
// and all. Throws Error(kInternal, "EXPORT_DIFFERS") naming the tensor and what is wrong.
Json verify_export(const std::filesystem::path& path, const Json& claims);

}  // namespace wring
