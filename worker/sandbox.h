// What keeps an engine to its work: no network but a loopback of its own, no program but itself, no file to
// write but those of its job, none of the calls that reach outside.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/files.h"
#include "common/json.h"

namespace wring {

// Found out once, by trying in a child what the kernel allows; then all of that is demanded of each engine.
// Immutable once built, so any thread may use it.
class Sandbox {
 public:
  // One measure each, in the order in which a child takes them.
  enum Measure : unsigned {
    kNamespaces = 1u << 0,    // user and network namespaces: a loopback that nobody else has; no way to the
                              // descriptors or the memory of the agent
    kNetwork = 1u << 1,       // where that is refused: a network namespace alone
    kNoPrivileges = 1u << 2,  // no capabilities, none to be had by a set-uid program
    kNoCoreFile = 1u << 3,    // limits: a crash writes no memory to the disk
    kPrograms = 1u << 4,      // Landlock: executes nothing but its own program
    kScope = 1u << 5,         // Landlock: signals no process outside
    kCalls = 1u << 6,   // seccomp: the calls and socket families that an engine has no use for are refused
    kWrites = 1u << 7,  // Landlock: changes nothing outside the folders that are its own
  };

  // Of the engine `program`, which changes files below `writable` alone, and what it needs of /proc and /dev.
  // Where it is a script its interpreters must run, so kPrograms is left out.
  Sandbox(const std::filesystem::path& program, const std::vector<std::filesystem::path>& writable);

  // Of one engine: of all that engines may change what lies below `folders`, and what is its own of /proc.
  // Empty where the kernel lacks kWrites. Throws Error(kInternal, "SANDBOX") where it could not be made.
  FileDescriptor narrow(const std::vector<std::filesystem::path>& folders) const;

  // Takes all measures that the kernel allows, with what narrow() made. Between fork and exec:
  // async-signal-safe. False where one that had been allowed was refused, with errno.
  bool enter(const FileDescriptor& narrower) const;

  bool has(Measure measure) const { return (allowed_ & measure) != 0; }
  Json to_json() const;          // {"network": true, "programs": true, ...}
  std::string describe() const;  // for people: what is on, and what this kernel refuses

 private:
  unsigned attempt(unsigned wanted, const FileDescriptor& narrower) const;
  bool take(Measure measure, const FileDescriptor& narrower) const;
  bool enter_namespaces() const;

  std::string uid_map_, gid_map_;
  FileDescriptor programs_, writes_, scope_;  // Landlock rulesets; none where the kernel lacks it
  std::vector<sock_filter> calls_;
  unsigned allowed_ = 0;
};

}  // namespace wring
