// For what stands in front of libc's calls on files: the calls themselves, and the path behind a descriptor.
#pragma once

#include <dlfcn.h>
#include <unistd.h>

#include <string>

namespace wring {

// The next definition of `name` in the order in which libraries are searched: libc's.
template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// Empty where there is none.
inline std::string path_behind(int fd) {
  char path[4096];
  const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
  return length > 0 ? std::string(path, static_cast<std::size_t>(length)) : std::string();
}

}  // namespace wring
