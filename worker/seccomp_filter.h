// The system calls that an engine is refused.
#pragma once

#include <linux/filter.h>

#include <vector>

namespace wring {

// A filter program that refuses, with EPERM, what reaches into other processes or the kernel, makes
// namespaces or mounts, or opens sockets of other families than local ones, and those of IP only where
// `network` (a private one) is there for them. All else is allowed: what torch and CUDA call varies with
// their releases. Empty where libseccomp cannot make it.
std::vector<sock_filter> seccomp_filter(bool network);

}  // namespace wring
