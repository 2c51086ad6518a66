// Stands in an engine's place and tries what an engine must not be able to do; says on its standard error how
// each attempt went: "connect: Connection refused".
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

namespace {

void say(const char* what, long result) {
  std::fprintf(stderr, "%s: %s\n", what, result >= 0 ? "done" : std::strerror(errno));
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const auto address = loopback(port);
  return fd < 0 ? -1 : ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

// A connection within the loopback that is its own.
int connect_to_itself() {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  auto address = loopback(0);
  socklen_t size = sizeof address;
  if (listener < 0 || ::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener, 1) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return -1;
  return connect_to(ntohs(address.sin_port));
}

long start(const char* program) {
  std::string name = program, argument = "again";
  char* const argv[] = {name.data(), argument.data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program, nullptr, nullptr, argv, environ);
  errno = error;
  if (error != 0) return -1;
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status == 0 ? 0 : -1;
}

void list_descriptors() {
  std::string open;
  DIR* const folder = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(folder))
    if (entry->d_name[0] != '.' && std::atoi(entry->d_name) != ::dirfd(folder))
      open += std::string(" ") + entry->d_name;
  std::fprintf(stderr, "descriptors:%s\n", open.c_str());
}

int open_and_close(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags, 0600);
  if (fd >= 0) ::close(fd);
  return fd;
}

// In the working folder, and in one that is not the engine's.
void try_files(const std::string& elsewhere) {
  say("file of its own", open_and_close("own", O_WRONLY | O_CREAT | O_TRUNC));
  say("folder of its own", ::mkdir("sub", 0700));
  say("move of its own", ::link("own", "sub/own") == 0 ? ::rename("sub/own", "moved") : -1);
  say("peak of memory", open_and_close("/proc/self/clear_refs", O_WRONLY));
  say("read elsewhere", ::access(elsewhere.c_str(), R_OK | X_OK));
  say("overwrite elsewhere", open_and_close(elsewhere + "/theirs", O_WRONLY | O_TRUNC));
  say("removal elsewhere", ::unlink((elsewhere + "/theirs").c_str()));
  say("file elsewhere", open_and_close(elsewhere + "/new", O_WRONLY | O_CREAT));
  say("folder elsewhere", ::mkdir((elsewhere + "/sub").c_str(), 0700));
  say("link to elsewhere", ::link("own", (elsewhere + "/own").c_str()));
}

void try_reading(const std::string& path) {
  const std::string what = "read " + path;
  say(what.c_str(), open_and_close(path, O_RDONLY));
}

// Each of them harmless where it is not refused.
void try_calls() {
  say("ptrace", ::ptrace(PTRACE_PEEKDATA, 0, nullptr, nullptr));
  say("unshare", ::unshare(CLONE_FILES));
  say("mount", ::mount("none", "/nowhere", "tmpfs", 0, nullptr));
  say("keyctl", ::syscall(SYS_keyctl, 0, -3, 0));  // the session's keyring
  say("bpf", ::syscall(SYS_bpf, 0, nullptr, 0));
  perf_event_attr event{};
  event.size = sizeof event;
  say("perf_event_open", ::syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
  say("io_uring_setup", ::syscall(SYS_io_uring_setup, 1, nullptr));
  say("netlink", ::socket(AF_NETLINK, SOCK_RAW, 0));
  say("unix", ::socket(AF_UNIX, SOCK_STREAM, 0));
  const long child = ::syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) ::_exit(0);
  say("clone", child);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "again") == 0) return 0;
  std::string line;
  for (char c; ::read(3, &c, 1) == 1 && c != '\n';) line += c;
  list_descriptors();
  const auto start_message = nlohmann::json::parse(line);
  const std::string agent = "/proc/" + std::to_string(::getppid());
  say("connect", connect_to(start_message.at("port").get<int>()));
  say("own loopback", connect_to_itself());
  say("descriptor of the agent",
      ::open((agent + "/fd/" + std::to_string(start_message.at("descriptor").get<int>())).c_str(), O_RDONLY));
  say("memory of the agent", ::open((agent + "/mem").c_str(), O_RDWR));
  say("memory score of the agent", open_and_close(agent + "/oom_score_adj", O_WRONLY));
  say("signal to the agent", ::kill(::getppid(), 0));
  say("another program", start("/bin/true"));
  say("its own program", start("/proc/self/exe"));
  try_files(start_message.at("elsewhere").get<std::string>());
  for (const auto& path : start_message.at("read")) try_reading(path.get<std::string>());
  try_calls();
  rlimit core{}, processes{};
  ::getrlimit(RLIMIT_CORE, &core);
  std::fprintf(stderr, "core file: %lu\n", core.rlim_max);
  ::getrlimit(RLIMIT_NPROC, &processes);
  std::fprintf(stderr, "most processes: %lu\n", processes.rlim_cur);
  std::fprintf(stderr, "no new privileges: %d\n", ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  char folder[4096] = {};
  std::fprintf(stderr, "folder: %s\n", ::getcwd(folder, sizeof folder));
  std::thread([] { std::fputs("a thread: done\n", stderr); }).join();
  ::_exit(0);  // past the leak checker, which traces itself
}
