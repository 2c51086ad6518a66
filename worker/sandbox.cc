// Namespaces, privileges, Landlock, seccomp: prepared before fork, taken after it.
#include "worker/sandbox.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/subprocess.h"
#include "common/text.h"
#include "worker/seccomp_filter.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr rlim_t kMostFiles = 65'536;
constexpr rlim_t kMostProcesses = 8'192;  // and threads: pools of hundreds of cores, far below a machine's

constexpr std::array<std::pair<Sandbox::Measure, const char*>, 10> kMeasures{
    {{Sandbox::kNamespaces, "namespaces"},
     {Sandbox::kNetwork, "network"},
     {Sandbox::kNoPrivileges, "no_privileges"},
     {Sandbox::kNoCoreFile, "no_core_file"},
     {Sandbox::kProcesses, "processes"},
     {Sandbox::kPrograms, "programs"},
     {Sandbox::kWrites, "writes"},
     {Sandbox::kReads, "reads"},
     {Sandbox::kScope, "scope"},
     {Sandbox::kCalls, "calls"}}};

// The loader that the ELF program asks for; nullopt for a script.
std::optional<fs::path> loader_of(const fs::path& program) {
  const auto file = MappedFile::open(program);
  const auto bytes = file->bytes();
  Elf64_Ehdr header;
  if (bytes.size() < sizeof header || std::memcmp(bytes.data(), ELFMAG, SELFMAG) != 0) return std::nullopt;
  std::memcpy(&header, bytes.data(), sizeof header);
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const auto at = header.e_phoff + std::uint64_t{i} * sizeof segment;
    if (at + sizeof segment > bytes.size()) break;
    std::memcpy(&segment, bytes.data() + at, sizeof segment);
    if (segment.p_type != PT_INTERP || segment.p_offset + segment.p_filesz > bytes.size()) continue;
    return fs::path(reinterpret_cast<const char*>(bytes.data() + segment.p_offset));
  }
  return fs::path();
}

// Newer kernels know more members than Debian's header; they take a shorter structure as well.
struct Ruleset {
  std::uint64_t files = 0, network = 0, scoped = 0;
};
constexpr std::uint64_t kScopeSignals = 1u << 1;  // LANDLOCK_SCOPE_SIGNAL, of Linux 6.12

FileDescriptor make_ruleset(const Ruleset& ruleset, std::size_t size) {
  return FileDescriptor(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &ruleset, size, 0)));
}

// Linking and renaming from one folder to another is refused by every ruleset that does not allow it, and
// takes a kernel that can: Linux 5.19.
constexpr std::uint64_t kMove = LANDLOCK_ACCESS_FS_REFER;
constexpr std::uint64_t kTruncate = 1u << 14;  // LANDLOCK_ACCESS_FS_TRUNCATE, of Linux 6.2
constexpr std::uint64_t kWriteFile = LANDLOCK_ACCESS_FS_WRITE_FILE;
constexpr std::uint64_t kReadFile = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr std::uint64_t kRead = kReadFile | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kChangeFolder =
    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
    LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

// What this kernel can handle of the accesses above.
std::uint64_t known_accesses() {
  const auto abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return LANDLOCK_ACCESS_FS_EXECUTE | kRead | kWriteFile | kChangeFolder | (abi >= 2 ? kMove : 0) |
         (abi >= 3 ? kTruncate : 0);
}

struct Allowed {
  fs::path path;
  std::uint64_t accesses;  // below it
  bool passing = false;    // it may be gone by now, or have become a link, and is then left out
};

// A ruleset for what is handled of `accesses`, and for `scoped`; none where the kernel lacks it, or a path is
// not there.
FileDescriptor allow(std::uint64_t accesses, const std::vector<Allowed>& rules, std::uint64_t scoped = 0) {
  const auto handled = accesses & known_accesses();
  auto ruleset = make_ruleset({handled, 0, scoped}, scoped ? sizeof(Ruleset) : sizeof(std::uint64_t));
  if (!ruleset) return {};
  for (const auto& [path, allowed, passing] : rules) {
    const FileDescriptor file(::open(path.c_str(), O_PATH | O_CLOEXEC | (passing ? O_NOFOLLOW : 0)));
    const landlock_path_beneath_attr rule{allowed & handled, file.get()};
    if (rule.allowed_access == 0) continue;
    const bool added =
        file && ::syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
    if (!added && !passing) return {};
  }
  return ruleset;
}

FileDescriptor programs_of(const fs::path& program, const std::vector<fs::path>& writable) {
  const auto loader = loader_of(program);
  if (!loader) return {};
  std::vector<Allowed> rules{{program, LANDLOCK_ACCESS_FS_EXECUTE}};
  if (!loader->empty()) rules.push_back({*loader, LANDLOCK_ACCESS_FS_EXECUTE});
  for (const auto& folder : writable) rules.push_back({folder, kMove});
  return allow(LANDLOCK_ACCESS_FS_EXECUTE | kMove, rules);
}

constexpr std::uint64_t kChanges = kWriteFile | kTruncate | kChangeFolder | kMove;

FileDescriptor writes_of(const std::vector<fs::path>& writable, std::vector<Allowed> rules) {
  for (const auto& entry : fs::directory_iterator("/dev")) {
    const auto name = entry.path().filename().string();
    if (name == "null" || name == "zero" || name.starts_with("nvidia"))
      rules.push_back({entry.path(), kWriteFile | kTruncate});
  }
  for (const auto& folder : writable) rules.push_back({folder, kChanges});
  return allow(kChanges, rules);
}

bool is_at_or_below(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

// Landlock only knows what is allowed: all of `folder` but what is guarded, the siblings along the way there;
// nothing of a folder that this process cannot list. A link's target is allowed, or guarded, where it lies.
void add_all_but(const std::vector<fs::path>& guarded, const fs::path& folder, std::vector<Allowed>& rules) {
  std::error_code ended;
  for (fs::directory_iterator at(folder, ended), end; at != end; at.increment(ended)) {
    const auto& path = at->path();
    std::error_code gone;
    if (std::find(guarded.begin(), guarded.end(), path) != guarded.end()) continue;
    const auto leads_to = [&](const fs::path& one) { return is_at_or_below(one, path); };
    if (std::any_of(guarded.begin(), guarded.end(), leads_to))
      add_all_but(guarded, path, rules);
    else if (!at->is_symlink(gone))
      rules.push_back({path, at->is_directory(gone) ? kRead : kReadFile, true});
  }
}

FileDescriptor reads_of(const std::vector<fs::path>& guarded, const OwnFiles& own) {
  std::vector<fs::path> real;  // at each call: a secret that is a link may be another file by now
  for (const auto& path : guarded) {
    std::error_code unreachable;  // for engines, too
    real.push_back(fs::weakly_canonical(path, unreachable));
  }
  std::vector<Allowed> rules;
  add_all_but(real, "/", rules);
  for (const auto& folder : own.writable) rules.push_back({folder, kRead | kMove});
  for (const auto& folder : own.readable) rules.push_back({folder, kRead});
  for (const auto& folder : own.named) rules.push_back({folder, kReadFile});
  return allow(kRead | kMove, rules);
}

// A process resets its peak of memory by a file of its own in /proc, whose name only it knows: system calls
// alone, as it is between fork and exec.
bool allow_own_process(const FileDescriptor& ruleset) {
  const int own = ::open("/proc/self", O_PATH | O_CLOEXEC);
  const landlock_path_beneath_attr rule{kWriteFile, own};
  const bool added =
      own >= 0 && ::syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
  if (own >= 0) ::close(own);
  return added;
}

FileDescriptor scope_of(const std::vector<fs::path>& writable) {
  std::vector<Allowed> rules;
  for (const auto& folder : writable) rules.push_back({folder, kMove});
  return allow(kMove, rules, kScopeSignals);
}

bool write_text(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool whole = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return whole;
}

bool raise_loopback() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  bool up = fd >= 0 && ::ioctl(fd, SIOCGIFFLAGS, &request) == 0;
  request.ifr_flags |= IFF_UP;
  up = up && ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  if (fd >= 0) ::close(fd);
  return up;
}

bool drop_privileges() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const std::array<__user_cap_data_struct, 2> none{};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
         ::syscall(SYS_capset, &header, none.data()) == 0;
}

bool limit_resources() {
  const rlimit no_core{0, 0};
  rlimit files{};
  if (::setrlimit(RLIMIT_CORE, &no_core) != 0 || ::getrlimit(RLIMIT_NOFILE, &files) != 0) return false;
  files.rlim_max = std::min(files.rlim_max, kMostFiles);
  files.rlim_cur = std::min(files.rlim_cur, files.rlim_max);
  return ::setrlimit(RLIMIT_NOFILE, &files) == 0;
}

// Whether this process may have a child now.
bool may_fork() {
  const long child = ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) ::_exit(0);
  if (child > 0) ::waitpid(static_cast<pid_t>(child), nullptr, 0);
  return child > 0;
}

// Tried first: the kernel must heed the limit (not for root), and count this process alone, as it does in a
// user namespace since Linux 5.14, and not all that its user runs.
bool limit_processes() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NPROC, &limit) != 0) return false;
  const rlimit before = limit;
  limit.rlim_cur = 1;
  const bool heeded = ::setrlimit(RLIMIT_NPROC, &limit) == 0 && !may_fork();
  limit.rlim_cur = 2;
  const bool alone = ::setrlimit(RLIMIT_NPROC, &limit) == 0 && may_fork();
  if (!heeded || !alone) {
    ::setrlimit(RLIMIT_NPROC, &before);
    return false;
  }
  limit.rlim_max = std::min(before.rlim_max, kMostProcesses);
  limit.rlim_cur = std::min(before.rlim_cur, limit.rlim_max);
  return ::setrlimit(RLIMIT_NPROC, &limit) == 0;
}

bool restrict_to(const FileDescriptor& ruleset) {
  if (!ruleset) return false;
  return ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) == 0;
}

}  // namespace

Sandbox::Sandbox(const fs::path& program, const std::vector<fs::path>& writable,
                 std::vector<fs::path> guarded)
    : uid_map_(std::to_string(::geteuid()) + " " + std::to_string(::geteuid()) + " 1"),
      gid_map_(std::to_string(::getegid()) + " " + std::to_string(::getegid()) + " 1"),
      guarded_(std::move(guarded)),
      programs_(programs_of(program, writable)),
      writes_(writes_of(writable, {{"/proc", kWriteFile}})),
      scope_(scope_of(writable)),
      calls_(seccomp_filter(false)) {
  const Fence fence{{}, reads_of(guarded_, {writable, {}, {}})};
  auto pipe = Pipe::create();
  const pid_t child = ::fork();
  if (child < 0) throw_io_error("fork for", "a look at the kernel", errno);
  if (child == 0) {
    const unsigned taken = attempt(~0u, fence);
    [[maybe_unused]] const auto n = ::write(pipe.write.get(), &taken, sizeof taken);
    ::_exit(0);
  }
  pipe.write.reset();
  if (::read(pipe.read.get(), &allowed_, sizeof allowed_) != sizeof allowed_) allowed_ = 0;
  ::waitpid(child, nullptr, 0);
  calls_ = seccomp_filter(has(kNamespaces) || has(kNetwork));
}

Sandbox::Fence Sandbox::narrow(const OwnFiles& own) const {
  Fence fence;
  if (has(kWrites)) fence.writes = writes_of(own.writable, {});
  if (has(kReads)) fence.reads = reads_of(guarded_, own);
  if ((has(kWrites) && !fence.writes) || (has(kReads) && !fence.reads))
    throw Error(ErrorCode::kInternal, "SANDBOX",
                std::string("an engine's folders cannot be fenced: ") + std::strerror(errno));
  return fence;
}

bool Sandbox::enter(const Fence& fence) const {
  return attempt(allowed_, fence) == allowed_;
}

// Takes the measures of `wanted` and returns those that were taken.
unsigned Sandbox::attempt(unsigned wanted, const Fence& fence) const {
  unsigned taken = 0;
  for (const auto& [measure, name] : kMeasures) {
    if (!(wanted & measure) || (measure == kNetwork && (taken & kNamespaces))) continue;
    if (take(measure, fence)) taken |= measure;
  }
  return taken;
}

bool Sandbox::take(Measure measure, const Fence& fence) const {
  switch (measure) {
    case kNamespaces:
      return enter_namespaces();
    case kNetwork:
      return ::unshare(CLONE_NEWNET) == 0 && raise_loopback();
    case kNoPrivileges:
      return drop_privileges();
    case kNoCoreFile:
      return limit_resources();
    case kProcesses:
      return limit_processes();
    case kPrograms:
      return restrict_to(programs_);
    case kWrites:
      return restrict_to(writes_) &&
             (!fence.writes || (allow_own_process(fence.writes) && restrict_to(fence.writes)));
    case kReads:
      return restrict_to(fence.reads);
    case kScope:
      return restrict_to(scope_);
    case kCalls: {
      const sock_fprog filter{static_cast<unsigned short>(calls_.size()),
                              const_cast<sock_filter*>(calls_.data())};
      return !calls_.empty() && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
    }
  }
  return false;
}

bool Sandbox::enter_namespaces() const {
  return ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && write_text("/proc/self/setgroups", "deny") &&
         write_text("/proc/self/uid_map", uid_map_) && write_text("/proc/self/gid_map", gid_map_) &&
         raise_loopback();
}

Json Sandbox::to_json() const {
  Json json;
  for (const auto& [measure, name] : kMeasures) json[name] = has(measure);
  json["network"] = has(kNamespaces) || has(kNetwork);
  return json;
}

std::string Sandbox::describe() const {
  const Json json = to_json();
  std::vector<std::string> on, off;
  for (const auto& [name, taken] : json.items()) (taken.get<bool>() ? on : off).push_back(name);
  return (on.empty() ? "none" : join(on, ", ")) + (off.empty() ? "" : "; refused here: " + join(off, ", "));
}

}  // namespace wring
