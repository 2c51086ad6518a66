// What keeps an engine to its work: no network but a loopback of its own, no program but itself, no file to
// write but those of its job, nothing to read of the worker's secrets and other projects' data, none of the
// calls that reach outside.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/files.h"
#include "common/json.h"

namespace wring {

// What is one engine's own of the files that engines may not change, or read. All of it is there.
struct OwnFiles {
  std::vector<std::filesystem::path> writable;  // folders, to be read as well
  std::vector<std::filesystem::path> readable;  // folders
  std::vector<std::filesystem::path> named;     // folders of whose files it reads those that it can name
};

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
    kPrograms = 1u << 4,      // Landlock: executes nothing but its own program and the loader that starts it
    kScope = 1u << 5,         // Landlock: signals no process outside
    kCalls = 1u << 6,      // seccomp: the calls and socket families that an engine has no use for are refused
    kWrites = 1u << 7,     // Landlock: changes nothing outside the folders that are its own
    kReads = 1u << 8,      // Landlock: reads nothing of what is guarded, but what is its own
    kProcesses = 1u << 9,  // limits: at most so many processes and threads; root's are not to be limited, nor
                           // those of kernels that count all of a user's together
  };

  // Landlock's rulesets of one engine; none where the kernel lacks the measure.
  struct Fence {
    FileDescriptor writes, reads;
  };

  // Of the engine `program`, which changes files below `writable` alone, and what it needs of /proc and /dev,
  // and reads nothing that is, or lies below, one of the absolute paths `guarded`. Where it is a script its
  // interpreters must run, so kPrograms is left out.
  Sandbox(const std::filesystem::path& program, const std::vector<std::filesystem::path>& writable,
          std::vector<std::filesystem::path> guarded = {});

  // Of one engine: of all that engines may change what is in its own folders, and what is its own of /proc;
  // of what is guarded it reads what is its own. What comes into a folder on the way to a guarded path after
  // this call is not to be read, what goes from there keeps its room on the disk while the engine runs.
  // Throws Error(kInternal, "SANDBOX") where it could not be made.
  Fence narrow(const OwnFiles& own) const;

  // Takes all measures that the kernel allows, with what narrow() made. Between fork and exec:
  // async-signal-safe. False where one that had been allowed was refused, with errno.
  bool enter(const Fence& fence) const;

  bool has(Measure measure) const { return (allowed_ & measure) != 0; }
  Json to_json() const;          // {"network": true, "programs": true, ...}
  std::string describe() const;  // for people: what is on, and what this kernel refuses

 private:
  unsigned attempt(unsigned wanted, const Fence& fence) const;
  bool take(Measure measure, const Fence& fence) const;
  bool enter_namespaces() const;

  std::string uid_map_, gid_map_;
  std::vector<std::filesystem::path> guarded_;
  FileDescriptor programs_, writes_, scope_;  // Landlock rulesets; none where the kernel lacks it
  std::vector<sock_filter> calls_;
  unsigned allowed_ = 0;
};

}  // namespace wring
