// Every maximum, timeout and default of the control plane that is not one of both planes' (those
// are in proxy/base/limits.h). One that refuses work says where it is counted.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proxy/base/clock.h"

namespace sluice::limits {

// ---- calls
inline constexpr std::size_t kHandlerThreads = 16;  // most of them sleep on the store's disk
// Calls that may last as long as their deadline, and calls in the queue of the others; beyond:
// RESOURCE_EXHAUSTED, sluice_calls_refused_total.
inline constexpr std::size_t kHandlersWaitingMax = 256;
inline constexpr std::size_t kHandlerQueueMax = 4096;
inline constexpr std::size_t kPageDefault = 100;
inline constexpr std::size_t kPageMax = 1000;
inline constexpr std::size_t kConnectionsListedMax = 10'000;
inline constexpr std::int32_t kRolloutWaitDefaultMs = 30'000;
inline constexpr std::size_t kOpenBodyBytesMax = 64 * 1024;  // of a request without a login
inline constexpr std::size_t kPortalBytesMax = 64 * 1024 * 1024;

// ---- resources
inline constexpr int kEditAttempts = 8;  // when others' changes come first
inline constexpr std::size_t kEditorChangesBatch = 10'000;
inline constexpr std::size_t kLabelsMax = 64;
inline constexpr std::size_t kLabelValueBytesMax = 255;
inline constexpr std::size_t kSpecBytesMax = 512 * 1024;  // half of a discovery response
inline constexpr std::size_t kConsumerKeyBytesMax = 128;

// ---- people
inline constexpr std::size_t kPasswordBytesMin = 8;
inline constexpr std::size_t kPasswordBytesMax = 1024;
inline constexpr nanoseconds kSessionLife = std::chrono::hours(12);
// Wrong passwords of a user from an address, and of the address; beyond: RESOURCE_EXHAUSTED,
// sluice_logins_refused_total.
inline constexpr std::size_t kLoginFailuresMax = 10;
inline constexpr nanoseconds kLoginFailureWindow = seconds(60);

// ---- applications
inline constexpr std::int64_t kTokenValidityDefaultS = 3600;
inline constexpr std::int64_t kTokenValidityMaxS = 10LL * 366 * 24 * 3600;
inline constexpr std::size_t kScopesMax = 32;
inline constexpr std::size_t kScopeBytesMax = 128;
// Wrong secrets of a client from an address; beyond: 429, sluice_clients_refused_total.
inline constexpr std::size_t kClientFailuresMax = 10;
inline constexpr nanoseconds kClientFailureWindow = seconds(60);
inline constexpr nanoseconds kClientFailureDelay = milliseconds(500);  // of the answer
inline constexpr std::size_t kAttemptKeysMax = 100'000;  // beyond, failures are forgotten

// ---- proxies
inline constexpr std::int64_t kJoinTokenLifeDefaultS = 3600;
inline constexpr std::int64_t kJoinTokenLifeMaxS = 30 * 24 * 3600;
inline constexpr int kJoinTokenUsesMax = 10'000;
inline constexpr nanoseconds kProxyCertificateLife = std::chrono::hours(24 * 7);
inline constexpr nanoseconds kOperatorCertificateLife = std::chrono::hours(24 * 365);
inline constexpr std::size_t kDiscoveryChangesBatch = 1000;
inline constexpr nanoseconds kDiscoveryRetryInterval = seconds(1);
inline constexpr std::size_t kIdentitiesKeptMax = 20'000;  // in memory, read again when asked for

// ---- store
inline constexpr std::size_t kRecordStoreThreads = 4;
inline constexpr std::size_t kWriteGroupMax = 1024;  // jobs that share a transaction
inline constexpr std::int64_t kExpiredTokenKeepMs = 3'600'000;
inline constexpr std::size_t kCollectBatch = 10'000;

}  // namespace sluice::limits
