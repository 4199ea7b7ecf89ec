// CHECK is for bugs of ours, in every build; DCHECK only where NDEBUG is not set. What input or a
// peer can cause is an absl::Status instead.
#pragma once

namespace sluice {

// Prints the condition and place to stderr and aborts.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace sluice

#define SLUICE_CHECK(condition)                               \
  do {                                                        \
    if (!(condition)) [[unlikely]] {                          \
      ::sluice::check_failed(#condition, __FILE__, __LINE__); \
    }                                                         \
  } while (false)

#ifdef NDEBUG
#define SLUICE_DCHECK(condition) \
  do {                           \
    (void)sizeof(condition);     \
  } while (false)
#else
#define SLUICE_DCHECK(condition) SLUICE_CHECK(condition)
#endif
