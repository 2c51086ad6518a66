// The verbs of wring-server beside the server itself: init, audit, backup, restore, fsck, gc.
#pragma once

#include <CLI/CLI.hpp>

namespace wring {

// `status` gets the exit status of the one that was called.
void add_verbs(CLI::App& app, int& status);

}  // namespace wring
