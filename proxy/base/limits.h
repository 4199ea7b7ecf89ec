// Every named limit of the data plane with its default; the unit is the last part of the name.
// Those that a resource can set say so.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proxy/base/clock.h"

namespace sluice::limits {

// ---- heads and handshakes
inline constexpr std::size_t kRequestHeadBytesMax = 64 * 1024;   // Listener.request_head_bytes_max
inline constexpr std::size_t kResponseHeadBytesMax = 64 * 1024;  // a backend's answer
inline constexpr std::size_t kHeaderCountMax = 128;
inline constexpr nanoseconds kRequestHeadTimeout = seconds(10);  // Listener.request_head_timeout
inline constexpr nanoseconds kConnectTimeout = seconds(5);       // Upstream.connect_timeout
inline constexpr nanoseconds kHandshakeTimeout = seconds(10);    // Upstream.handshake_timeout
inline constexpr std::size_t kRefusalBodyBytesMax =
    64 * 1024;  // a backend's own refusal, passed on
inline constexpr std::size_t kCredentialBytesMax = 8 * 1024;
inline constexpr std::size_t kChunkExtensionBytesMax = 256;  // of one chunk
inline constexpr std::size_t kTrailerBytesMax = 8 * 1024;    // of one body, all together
inline constexpr std::size_t kFormParametersMax = 64;        // a form-encoded body

// ---- upstreams (each an Upstream's field)
inline constexpr nanoseconds kRequestTimeout = seconds(60);
inline constexpr nanoseconds kUpstreamIdleTimeout = seconds(60);
inline constexpr nanoseconds kDnsRefresh = seconds(5);
inline constexpr std::uint32_t kPanicPercent = 50;
inline constexpr nanoseconds kHealthInterval = seconds(5);
inline constexpr nanoseconds kHealthTimeout = seconds(2);
inline constexpr std::uint32_t kHealthFailures = 3;
inline constexpr std::uint32_t kHealthPasses = 2;
inline constexpr std::uint32_t kEjectionFailures = 5;
inline constexpr nanoseconds kEjectionTime = seconds(30);
inline constexpr nanoseconds kEjectionTimeMax = seconds(300);
inline constexpr std::uint32_t kEjectionPercentMax = 10;
inline constexpr std::uint32_t kRetries = 2;
inline constexpr std::uint32_t kRetryBudgetPercent = 20;
inline constexpr std::uint32_t kRetryBudgetMin = 3;
inline constexpr std::uint32_t kWeightMax = 1000;
inline constexpr std::uint32_t kPriorityMax = 15;
inline constexpr std::uint32_t kRetriesMax = 10;
inline constexpr std::size_t kAddressesMax = 64;             // of one endpoint's name
inline constexpr std::size_t kUpstreamSeriesMax = 1000;      // endpoints with metrics of their own

// ---- live WebSockets
inline constexpr std::uint64_t kMessageBytesMax = 16 * 1024 * 1024;  // Api.limits
inline constexpr nanoseconds kPingInterval = seconds(30);            // Api.limits
inline constexpr int kPingMissesMax = 2;
inline constexpr double kAgeJitter = 0.1;                   // part of age_max that chance takes off
inline constexpr nanoseconds kNoticeInterval = seconds(1);  // at most one throttle notice in it
inline constexpr nanoseconds kCloseTimeout = seconds(1);    // from our close frame to the echo
inline constexpr nanoseconds kPeerCloseTimeout =
    seconds(10);                                           // from a peer's close frame to the echo
inline constexpr int kControlFramesPerSecondMax = 100;     // a peer's pings and pongs
inline constexpr std::size_t kHeldBytesMax = 1024 * 1024;  // bytes a connection holds per direction

// ---- HTTP APIs
inline constexpr nanoseconds kClientIdleTimeout = seconds(75);        // between a client's requests
inline constexpr nanoseconds kHttpRequestBodyTimeout = seconds(30);   // Api.http
inline constexpr nanoseconds kHttpIdleTimeout = seconds(300);         // Api.http
inline constexpr nanoseconds kHttpLongAfter = milliseconds(250);      // then rechecked, has a slot
inline constexpr nanoseconds kClientStallTimeout = seconds(60);       // taking no response bytes
inline constexpr nanoseconds kHttpLingerTimeout = seconds(2);  // reading after a last response
inline constexpr std::size_t kHttpLingerBytesMax = 16 * 1024 * 1024;
inline constexpr int kInterimResponsesMax = 8;  // 1xx of one request
inline constexpr std::size_t kUpstreamIdlePerEndpointMax = 512;   // of one worker
inline constexpr std::size_t kUpstreamIdleMax = 2048;             // of one worker
inline constexpr std::size_t kApiResourcesMax = 256;              // Api.resources
inline constexpr std::size_t kCorsNamesMax = 64;                  // Api.cors, each list
inline constexpr nanoseconds kCorsMaxAge = std::chrono::minutes(10);  // Api.cors

// ---- the loop
inline constexpr std::size_t kReadBufferBytes = 64 * 1024;
inline constexpr std::size_t kReadBytesPerTurnMax = 256 * 1024;
inline constexpr std::size_t kSpliceBytesMin = 128 * 1024;  // left of a frame
inline constexpr int kListenBacklog = 4096;

inline constexpr std::size_t kAcceptsPerTurnMax = 64;           // of one listening socket
inline constexpr nanoseconds kAcceptRetry = milliseconds(100);  // after no descriptor was left

// ---- TLS
inline constexpr std::size_t kTlsSessionsMax = 1024;  // of peers, to resume, a client context
inline constexpr std::size_t kTlsPendingBytesMax = 256 * 1024;  // encrypted, not taken by the peer

// ---- host names
inline constexpr std::size_t kResolverQueueMax = 1024;         // look-ups that wait
inline constexpr nanoseconds kResolverCacheTime = seconds(5);  // an answer is used again
inline constexpr std::size_t kResolverCacheMax = 1024;         // host names

// ---- the house's own HTTP ports (admin, probes, the control plane's door)
inline constexpr std::size_t kServerConnectionsMax = 1024;
inline constexpr std::size_t kServerHeadBytesMax = 16 * 1024;
inline constexpr std::size_t kServerBodyBytesMax = 8 * 1024 * 1024;
inline constexpr nanoseconds kServerRequestTimeout = seconds(15);
inline constexpr nanoseconds kServerResponseTimeout = seconds(30);
inline constexpr nanoseconds kServerIdleTimeout = seconds(75);
inline constexpr std::size_t kAdminConnectionsMax = 64;
inline constexpr std::size_t kAdminBodyBytesMax = 64 * 1024;
inline constexpr nanoseconds kAdminAnswerTimeout = seconds(5);   // of all workers
inline constexpr nanoseconds kServerLingerTimeout = seconds(1);  // reading after a refusal

// ---- proxy process
inline constexpr std::size_t kConnectionsMax = 18'000;  // --connections-max
// Connections over that limit which wait to be told so; more are closed at accept.
inline constexpr std::size_t kRefusalsWaitingMax = 256;
inline constexpr std::size_t kRefusalsWaitingOfOneMax = 16;  // likewise over a listener's limits
inline constexpr std::size_t kDescriptorsReserved = 200;  // for all that is no client's connection
inline constexpr std::size_t kListenerSecretsMax = 256;   // of a Listener
inline constexpr std::size_t kProxyHeaderBytesMax =
    4096;  // PROXY protocol version 2, TLVs included
// A worker with so many connections more than another, and a part of them more, hands new ones on.
inline constexpr std::size_t kBalanceSlack = 4;
inline constexpr double kBalancePart = 0.05;
inline constexpr double kMemoryPart = 0.9;  // of the cgroup's limit, if --memory-max is not set
inline constexpr double kMemoryRecovered = 0.95;  // of --memory-max: below it work is taken again
inline constexpr nanoseconds kOverloadInterval = milliseconds(250);  // memory and descriptors
inline constexpr nanoseconds kTrimInterval = seconds(10);  // giving memory back while it is short
inline constexpr nanoseconds kDrainDelay = seconds(5);
inline constexpr nanoseconds kDrainTime = seconds(20);
inline constexpr std::size_t kInterimSeconds = 5;
inline constexpr std::size_t kSpoolBytesMax = 256 * 1024 * 1024;
inline constexpr std::size_t kRecordQueueMax = 65'536;
inline constexpr std::size_t kAccessLogQueueMax = 65'536;
inline constexpr std::size_t kSpoolSegmentBytes = 4 * 1024 * 1024;
inline constexpr std::size_t kRecordsWaitingMax = 16'384;             // that the sink does not take
inline constexpr std::size_t kRecordFileBytesMax = 64 * 1024 * 1024;  // records.jsonl, then rotated
inline constexpr std::size_t kLineBufferBytesMax = 4 * 1024 * 1024;   // lines that no reader takes

// ---- identity
inline constexpr std::size_t kTokensMax = 1'000'000;
inline constexpr int kUnknownTokensPerSecondMax = 20;  // per client address
inline constexpr nanoseconds kTokenLookupTimeout = seconds(3);

// ---- discovery
inline constexpr std::size_t kDiscoveryMessageBytesMax = 64 * 1024 * 1024;
inline constexpr std::size_t kDiscoveryResponseBytesMax = 1024 * 1024;
inline constexpr std::size_t kResubscribeBatch = 4096;
inline constexpr std::size_t kDiscoveryUnansweredMax = 64;    // responses on one stream
inline constexpr std::size_t kDiscoveryNamesMax = 2'000'000;  // named by one client, all types
inline constexpr std::size_t kDiscoveryTypesMax = 64;         // of one stream
inline constexpr std::size_t kRecordBatchMax = 1000;          // records of one upload
inline constexpr std::size_t kRecordBatchesUnansweredMax = 4;
inline constexpr std::size_t kLookupsPendingMax = 65'536;   // tokens being asked for
inline constexpr std::size_t kLookupAddressesMax = 65'536;  // whose unknown tokens are counted
inline constexpr nanoseconds kBackoffMin = milliseconds(500);
inline constexpr nanoseconds kBackoffMax = seconds(30);
inline constexpr nanoseconds kStreamAgeMax = std::chrono::minutes(30);
inline constexpr nanoseconds kKeepaliveInterval = seconds(30);  // gRPC streams between the planes
inline constexpr nanoseconds kKeepaliveTimeout = seconds(5);
inline constexpr nanoseconds kControlConnectTimeout = seconds(5);
inline constexpr nanoseconds kJoinTimeout = seconds(10);  // of one call for a certificate

// ---- names and resources
inline constexpr std::size_t kNameBytesMax = 63;
inline constexpr std::size_t kContextBytesMax = 255;  // Api.context
inline constexpr std::size_t kContextSegmentsMax = 16;
inline constexpr std::size_t kEndpointsMax = 256;  // of an Upstream, or of a kind in an Api
inline constexpr std::size_t kThrottleNoticeBytesMax = 4096;
inline constexpr std::size_t kHeadBytesConfigurableMin = 1024;  // Listener
inline constexpr std::size_t kHeadBytesConfigurableMax = 1024 * 1024;
inline constexpr nanoseconds kTimeoutConfigurableMax = seconds(300);  // connect, handshake, head
inline constexpr std::size_t kResourceFileBytesMax = 64 * 1024 * 1024;

}  // namespace sluice::limits
