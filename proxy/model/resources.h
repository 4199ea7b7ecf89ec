// The resources as plain structs: what the data path sees instead of protobuf. Filled by
// proxy/config from sluice.config.v1, immutable once published, compared by nobody but tests.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"

namespace sluice::model {

enum class KeyType : std::uint8_t { kProduction, kSandbox };

enum class ApiType : std::uint8_t { kWebSocket, kHttp };

enum class ApiState : std::uint8_t {
  kCreated,
  kPrototyped,
  kPublished,
  kBlocked,
  kDeprecated,
  kRetired,
};

// What is done with a message over a limit.
enum class LimitAction : std::uint8_t { kNotify, kDrop, kDelay, kClose };

// How a refused handshake is told: an HTTP status, or an upgrade followed by a close code.
enum class RefuseBy : std::uint8_t { kHttp, kClose };

// Which close codes an API uses (behaviour.md, closes): 4001, 4003, 4006, or 1008, 1013.
enum class CloseCodes : std::uint8_t { kReference, kStandard };

enum class CredentialPlace : std::uint8_t { kAuthorization, kSubprotocol, kAccessToken, kApiKey };

struct Plan {
  std::string name;
  std::uint64_t messages = 0;  // a window; 0: no limit
  std::uint64_t bytes = 0;     // payload bytes a window; 0: no limit
  nanoseconds per = seconds(60);
  LimitAction on_limit = LimitAction::kNotify;
  LimitAction on_limit_backend = LimitAction::kDelay;

  bool unlimited() const { return messages == 0 && bytes == 0; }
};

// What an endpoint resolves to before dialling.
struct Endpoint {
  std::string url;   // as configured, for people
  std::string host;  // name or address, IPv6 without brackets
  std::uint16_t port = 0;
  bool tls = false;
  std::string path;       // begins with '/'; the topic is joined to it with one slash
  std::string authority;  // Host header: host[:port] with the scheme's default port left out
  std::uint32_t weight = 1;    // part of new work among those of its priority
  std::uint32_t priority = 0;  // higher ones stand in for lower ones
};

struct WebSocketLimits {
  std::uint64_t message_bytes_max = limits::kMessageBytesMax;
  nanoseconds ping_interval = limits::kPingInterval;  // zero: never
  nanoseconds idle_timeout = nanoseconds::zero();     // zero: none
  nanoseconds age_max = nanoseconds::zero();          // zero: none
};

// Limits of one HTTP request and its response.
struct HttpLimits {
  std::uint64_t request_body_bytes_max = 0;  // 0: none
  nanoseconds request_body_timeout = limits::kHttpRequestBodyTimeout;
  nanoseconds idle_timeout = limits::kHttpIdleTimeout;
};

// What scripts of other origins may do with an HTTP API; whose origins is Api.allowed_origins.
struct Cors {
  std::string allowed_methods;  // lists as they go on the wire
  std::string allowed_headers;
  std::string exposed_headers;
  bool allow_credentials = false;
  nanoseconds max_age = limits::kCorsMaxAge;
};

// A part of an HTTP API with rules of its own.
struct ApiResource {
  std::string path;                   // template: /orders/{id}, /files/*
  std::vector<std::string> segments;  // of it; "{}" stands for any one, a last "*" for the rest
  std::vector<std::string> methods;   // upper case; empty: all
  std::string plan;                   // name of a Plan; empty: none
  std::vector<std::string> scopes;    // one of them is needed; empty: none is
  bool authenticated = true;          // a credential is needed
};

struct Api {
  std::string name;
  std::string context;  // /echo, without version; or a template that holds {version}
  std::string version;
  ApiType type = ApiType::kWebSocket;
  ApiState state = ApiState::kCreated;
  bool default_version = false;
  std::vector<std::string> plans;
  std::string api_plan;                      // name of a Plan
  std::vector<std::string> allowed_origins;  // empty: all
  RefuseBy refuse_by = RefuseBy::kHttp;
  CloseCodes close_codes = CloseCodes::kReference;
  std::string throttle_notice;                     // template, {limit} and {seconds}
  std::vector<CredentialPlace> credential_places;  // in order of precedence, never empty
  WebSocketLimits limits;
  HttpLimits http;
  std::optional<Cors> cors;            // none: requests of other origins are no matter of ours
  std::vector<ApiResource> resources;  // most specific first; empty: all paths and methods
};

enum class ApplicationStatus : std::uint8_t { kApproved, kBlocked, kOnHold, kRejected };

struct Application {
  std::string name;
  std::string plan;
  std::string owner;
  ApplicationStatus status = ApplicationStatus::kApproved;
};

enum class SubscriptionStatus : std::uint8_t {
  kUnblocked,
  kBlocked,
  kProdOnlyBlocked,
  kOnHold,
  kRejected,
};

struct Subscription {
  std::string application;
  std::string api;
  std::string plan;
  SubscriptionStatus status = SubscriptionStatus::kUnblocked;
};

// An application with all its subscriptions, sorted by API.
struct Grants {
  Application application;
  std::vector<Subscription> subscriptions;

  // Null if there is none. Valid as long as this object.
  const Subscription* find(std::string_view api) const {
    for (const Subscription& s : subscriptions) {
      if (s.api == api) {
        return &s;
      }
    }
    return nullptr;
  }
};

struct Token {
  Sha256 hash{};
  std::string application;
  KeyType key_type = KeyType::kProduction;
  Wall expires = Wall::max();  // max: never
  std::vector<std::string> scopes;
  std::string credential;
  std::string user;
  bool revoked = false;
};

// What is known of a token. `token` null: there is no such token. `grants` null with a token: its
// application is gone.
struct Identity {
  std::shared_ptr<const Token> token;
  std::shared_ptr<const Grants> grants;
};

// Who an exchange acts for, as auth decided. Empty for a PROTOTYPED API or a chain without auth.
struct Principal {
  std::string application;
  std::string application_plan;
  std::string subscription_plan;
  std::string user;  // end user, or the application's owner where the grant had none
  std::string credential;
  KeyType key_type = KeyType::kProduction;
  Sha256 token{};
  Wall expires = Wall::max();
};

// Something that a live exchange depends on. A change to it rechecks just the exchanges that
// registered it. For kToken the name is the hash in lower-case hex.
struct Subject {
  enum class Kind : std::uint8_t { kApi, kApplication, kPlan, kToken, kUpstream, kListener };
  Kind kind = Kind::kApi;
  std::string name;

  friend bool operator==(const Subject&, const Subject&) = default;
  friend auto operator<=>(const Subject&, const Subject&) = default;
};

}  // namespace sluice::model
