// One source line that makes a function several: compiled for each level of x86-64, chosen when the program
// starts.
#pragma once

// Put before the definition of a plain function (no template, no inlining into its callers needed) whose
// loops the compiler vectorises. Where there is no such mechanism the function is compiled once, for the
// baseline.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)
#define WRING_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WRING_MULTIVERSION
#endif
