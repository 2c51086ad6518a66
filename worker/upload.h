// A folder's chunks on their way to the store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "formats/manifest.h"
#include "proto/rpc/transfer.h"
#include "worker/coordinator.h"

namespace wring {

// As upload_and_commit(), for the tree at `folder`, whose manifest is `manifest`.
std::uint64_t upload_tree(Coordinator& coordinator, const std::filesystem::path& folder,
                          const Manifest& manifest, const std::function<void()>& commit,
                          const TransferOptions& options);

}  // namespace wring
