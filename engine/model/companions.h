// What travels with a model, file by file.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "formats/file_tree.h"

namespace wring {

// Calls take(path, content) for each file that write_companions() (load.h) writes.
void for_each_companion(const FileTree& source,
                        const std::function<void(const std::string& path, std::string_view content)>& take);

}  // namespace wring
