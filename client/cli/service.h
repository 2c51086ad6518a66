// A server and its workers as children of this process.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "client/cli/context.h"
#include "client/config.h"

namespace wring {

struct ServiceOptions {
  std::string data;                  // folder; made where it does not exist
  std::string grpc = "127.0.0.1:0";  // port 0: any free one
  std::string http = "127.0.0.1:0";
  int workers = 1;
  int threads = 0;                                        // of each worker; 0: an equal share of the cores
  std::vector<std::string> classes;                       // kinds of machine that they are of
  std::function<ClientConfig(const Endpoints&)> connect;  // empty: plain text on this machine's loopback
  // A program that starts workers elsewhere, of `classes`, and ends when they do; empty: none.
  std::function<std::vector<std::string>(const ClientConfig&)> crew;
  std::function<void()> dismiss_crew;  // tells them to drain
};

// `--class` of a verb that starts workers, and of the worker that is started by `command`.
void add_class_option(CLI::App& verb, std::vector<std::string>& classes);
void add_classes(const std::vector<std::string>& classes, std::vector<std::string>& command);

// Starts the programs, calls `on_ready` when the server serves and its workers have registered, and keeps
// them running (one that dies is started again, five times at most in quick succession) until SIGINT, SIGTERM
// or SIGHUP, or until `is_over` says so; then drains workers and stops the server. A second signal cuts the
// wait short. Returns whether it was over. Throws kAlreadyExists ("ALREADY_UP") where another process does
// this for the same folder, kUnavailable where a program does not come up (with the end of its log).
bool keep_service_up(const ServiceOptions& options, const std::function<void(const Endpoints&)>& on_ready,
                     const std::function<bool()>& is_over = {});

// Stops the process that keeps the service of `data` up; false where there is none.
bool stop_service(const std::filesystem::path& data);

}  // namespace wring
