// One source that becomes several functions: compiled for each level of x86-64, chosen when the program runs.
#pragma once

// Inlined always: each compiled level of its caller has its own copy.
#define WRING_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)

// Put before the definition of a plain function (no template, no inlining into its callers needed) whose
// loops the compiler vectorises. Where there is no such mechanism the function is compiled once, for the
// baseline.
#define WRING_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))

// Defines `void name parameters` as name_in<L> arguments, an always inlined template over the lanes that one
// register of the level holds: the compiler makes scalar code of comparisons of wider vectors.
#define WRING_PER_REGISTER(name, parameters, arguments)                           \
  static __attribute__((target("arch=x86-64-v4"))) void name##_v4 parameters {    \
    name##_in<16> arguments;                                                      \
  }                                                                               \
  static __attribute__((target("arch=x86-64-v3"))) void name##_v3 parameters {    \
    name##_in<8> arguments;                                                       \
  }                                                                               \
  static void name##_v1 parameters {                                              \
    name##_in<4> arguments;                                                       \
  }                                                                               \
  void name parameters {                                                          \
    static const auto chosen = __builtin_cpu_supports("x86-64-v4")   ? name##_v4  \
                               : __builtin_cpu_supports("x86-64-v3") ? name##_v3  \
                                                                     : name##_v1; \
    chosen arguments;                                                             \
  }

#else

#define WRING_MULTIVERSION
#define WRING_PER_REGISTER(name, parameters, arguments) \
  void name parameters {                                \
    name##_in<4> arguments;                             \
  }

#endif
