// libseccomp compiles the rules; the child loads them without it, as only plain calls are safe there.
#include "worker/seccomp_filter.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <initializer_list>
#include <memory>

#include "common/files.h"

namespace wring {
namespace {

constexpr std::array kRefused{
    // other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_madvise",
    // mounts and namespaces
    "mount", "umount2", "move_mount", "mount_setattr", "fsopen", "fsmount", "fsconfig", "fspick", "open_tree",
    "pivot_root", "chroot", "unshare", "setns", "open_by_handle_at",
    // keys, programs and modules in the kernel, what watches all of the machine
    "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "init_module", "finit_module",
    "delete_module", "kexec_load", "kexec_file_load", "syslog", "fanotify_init", "lookup_dcookie", "acct",
    "quotactl",
    // the machine itself
    "reboot", "swapon", "swapoff", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
    "sethostname", "setdomainname", "iopl", "ioperm", "vhangup",
    // ways around this filter, and favourites of those who look for holes in the kernel
    "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "modify_ldt"};

constexpr std::array kNamespaceFlags{CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS,    CLONE_NEWPID,
                                     CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};

constexpr int kFamilies = 64;  // there are 46 by now

using Context = std::unique_ptr<void, decltype(&seccomp_release)>;

bool refuse(scmp_filter_ctx context, const char* name, int error = EPERM) {
  const int call = seccomp_syscall_resolve_name(name);
  if (call == __NR_SCMP_ERROR) return true;  // this libseccomp does not know it, nor can it be refused
  return seccomp_rule_add(context, SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error)), call, 0) == 0;
}

bool refuse_namespaces(scmp_filter_ctx context) {
  bool added = refuse(context, "clone3", ENOSYS);  // its flags lie in memory; libc then takes clone
  for (const auto flag : kNamespaceFlags) {
    const auto bit = static_cast<scmp_datum_t>(flag);
    added = added && seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                      SCMP_A0(SCMP_CMP_MASKED_EQ, bit, bit)) == 0;
  }
  return added;
}

bool refuse_families(scmp_filter_ctx context, bool network) {
  bool added = true;
  for (int family = 0; family < kFamilies; ++family) {
    if (family == AF_UNIX || (network && (family == AF_INET || family == AF_INET6))) continue;
    added = added && seccomp_rule_add(context, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                                      SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family))) == 0;
  }
  return added && seccomp_rule_add(context, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                                   SCMP_A0(SCMP_CMP_GE, kFamilies)) == 0;
}

}  // namespace

std::vector<sock_filter> seccomp_filter(bool network) {
  const Context context(seccomp_init(SCMP_ACT_ALLOW), &seccomp_release);
  bool made = context != nullptr;
  for (const auto* name : kRefused) made = made && refuse(context.get(), name);
  made = made && refuse_namespaces(context.get()) && refuse_families(context.get(), network);
  const FileDescriptor file(::memfd_create("filter", MFD_CLOEXEC));
  if (!made || !file || seccomp_export_bpf(context.get(), file.get()) != 0) return {};
  std::vector<sock_filter> program(static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END)) /
                                   sizeof(sock_filter));
  const auto bytes = static_cast<ssize_t>(program.size() * sizeof(sock_filter));
  if (::pread(file.get(), program.data(), static_cast<std::size_t>(bytes), 0) != bytes) return {};
  return program;
}

}  // namespace wring
