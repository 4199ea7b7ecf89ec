// Shorthand for absl::Status, and the bridge between std::string_view and abseil's own one (Debian
// builds abseil with a string_view of its own; our interfaces keep std's).
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the enclosing function (plain or coroutine keyword given) if `expr` is not OK.
#define SLUICE_RETURN_IF_ERROR(expr)                      \
  do {                                                    \
    if (::absl::Status status_ = (expr); !status_.ok()) { \
      return status_;                                     \
    }                                                     \
  } while (false)

#define SLUICE_CO_RETURN_IF_ERROR(expr)                   \
  do {                                                    \
    if (::absl::Status status_ = (expr); !status_.ok()) { \
      co_return status_;                                  \
    }                                                     \
  } while (false)

#define SLUICE_CONCAT_(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_(a, b)

// Declares or assigns `lhs` from the StatusOr `expr`, or returns its status.
#define SLUICE_ASSIGN_OR_RETURN(lhs, expr) \
  SLUICE_ASSIGN_OR_(SLUICE_CONCAT(result_, __LINE__), lhs, expr, return )
#define SLUICE_ASSIGN_OR_CO_RETURN(lhs, expr) \
  SLUICE_ASSIGN_OR_(SLUICE_CONCAT(result_, __LINE__), lhs, expr, co_return )
#define SLUICE_ASSIGN_OR_(result, lhs, expr, ret) \
  auto result = (expr);                           \
  if (!result.ok()) {                             \
    ret result.status();                          \
  }                                               \
  lhs = *std::move(result)

namespace sluice {

inline absl::string_view to_absl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view to_std(absl::string_view text) { return {text.data(), text.size()}; }

// The message of a status as a std::string_view; valid as long as `status`.
inline std::string_view message_of(const absl::Status& status) { return to_std(status.message()); }

inline absl::Status invalid_argument(std::string_view text) {
  return absl::InvalidArgumentError(to_absl(text));
}
inline absl::Status not_found(std::string_view text) { return absl::NotFoundError(to_absl(text)); }
inline absl::Status unavailable(std::string_view text) {
  return absl::UnavailableError(to_absl(text));
}
inline absl::Status failed_precondition(std::string_view text) {
  return absl::FailedPreconditionError(to_absl(text));
}
inline absl::Status internal_error(std::string_view text) {
  return absl::InternalError(to_absl(text));
}
inline absl::Status deadline_exceeded(std::string_view text) {
  return absl::DeadlineExceededError(to_absl(text));
}
inline absl::Status resource_exhausted(std::string_view text) {
  return absl::ResourceExhaustedError(to_absl(text));
}
inline absl::Status cancelled(std::string_view text) { return absl::CancelledError(to_absl(text)); }

}  // namespace sluice
