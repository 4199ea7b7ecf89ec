// Records, sums and connections, from the store.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "controlplane/api/reflect.h"
#include "controlplane/api/services.h"
#include "controlplane/model/limits.h"
#include "proxy/base/log.h"

namespace sluice::controlplane::api {
namespace {

constexpr std::int64_t kDayMs = 24 * 3'600'000;

std::int64_t ms_of(const google::protobuf::Timestamp& time) {
  return time.seconds() * 1000 + time.nanos() / 1'000'000;
}

absl::StatusOr<admin::v1::ListRecordsResponse> list_records(
    Services& services, const admin::v1::ListRecordsRequest& request) {
  store::RecordFilter filter;
  filter.api = request.api();
  filter.application = request.application();
  filter.connection_id = request.connection_id();
  filter.since_ms = ms_of(request.since());
  if (request.page_size() < 0) {
    return invalid_argument("page_size: must not be negative");
  }
  filter.limit = request.page_size() == 0
                     ? limits::kPageDefault
                     : std::min(static_cast<std::size_t>(request.page_size()), limits::kPageMax);
  const std::string& token = request.page_token();
  const auto parsed = std::from_chars(token.data(), token.data() + token.size(), filter.before_id);
  if (!token.empty() && (parsed.ec != std::errc() || parsed.ptr != token.data() + token.size() ||
                         filter.before_id <= 0)) {
    return invalid_argument("page_token: is not one that an answer gave");
  }
  SLUICE_ASSIGN_OR_RETURN(store::RecordPage page,
                          services.store.list_records(services.organisation, filter));
  admin::v1::ListRecordsResponse response;
  for (telemetry::v1::Record& record : page.records) {
    *response.add_records() = std::move(record);
  }
  if (page.next_before_id != 0) {
    response.set_next_page_token(std::to_string(page.next_before_id));
  }
  return response;
}

absl::StatusOr<admin::v1::GetUsageResponse> get_usage(Services& services,
                                                      const admin::v1::GetUsageRequest& request) {
  const std::int64_t since =
      request.has_since() ? ms_of(request.since()) : to_ms(services.now()) - kDayMs;
  SLUICE_ASSIGN_OR_RETURN(
      const std::vector<store::UsageSum> sums,
      services.store.usage(services.organisation, request.api(), request.application(), since));
  admin::v1::GetUsageResponse response;
  for (const store::UsageSum& sum : sums) {
    admin::v1::Usage& usage = *response.add_usage();
    usage.set_api(sum.api);
    usage.set_application(sum.application);
    usage.set_key_type(sum.key_type);
    usage.set_connections(sum.connections);
    usage.set_refused(sum.refused);
    usage.set_messages_up(sum.messages_up);
    usage.set_messages_down(sum.messages_down);
    usage.set_bytes_up(sum.bytes_up);
    usage.set_bytes_down(sum.bytes_down);
    usage.set_throttled(sum.throttled);
  }
  return response;
}

absl::StatusOr<admin::v1::ListConnectionsResponse> list_connections(
    Services& services, const admin::v1::ListConnectionsRequest& request) {
  store::ConnectionFilter filter;
  filter.refused = request.refused();
  filter.connection_id = request.connection_id();
  filter.limit = limits::kConnectionsListedMax;
  SLUICE_ASSIGN_OR_RETURN(const std::vector<store::ConnectionState> states,
                          services.store.connections(services.organisation, filter));
  admin::v1::ListConnectionsResponse response;
  for (const store::ConnectionState& state : states) {
    const telemetry::v1::Record& record = state.record;
    admin::v1::Connection& connection = *response.add_connections();
    connection.set_connection_id(record.connection_id());
    connection.set_proxy(record.proxy());
    connection.set_api(record.api());
    connection.set_application(record.application());
    connection.set_client_address(record.client_address());
    *connection.mutable_begin() = record.begin();
    *connection.mutable_last_report() = timestamp_of_ms(state.last_report_ms);
    connection.set_live(state.live);
    connection.set_messages_up(record.messages_up());
    connection.set_messages_down(record.messages_down());
    connection.set_status(record.status());
    connection.set_code(record.code());
    connection.set_close_code(record.close_code());
    connection.set_reason(record.reason());
  }
  return response;
}

// The proxy that has the connection, by its records.
absl::StatusOr<std::string> holder_of(Services& services, const std::string& connection) {
  if (connection.empty()) {
    return invalid_argument("connection_id: which one? see `sluicectl connections list`");
  }
  store::ConnectionFilter filter;
  filter.connection_id = connection;
  SLUICE_ASSIGN_OR_RETURN(const std::vector<store::ConnectionState> states,
                          services.store.connections(services.organisation, filter));
  if (states.empty()) {
    return not_found(
        fmt::format("connection_id: no record of {} has come in; proxies report live connections "
                    "every few seconds, see `sluicectl connections list`",
                    connection));
  }
  const telemetry::v1::Record& record = states.front().record;
  if (!states.front().live) {
    return failed_precondition(fmt::format("connection_id: {} is not open any more: {}", connection,
                                           record.reason().empty() ? "it ended" : record.reason()));
  }
  return record.proxy();
}

absl::StatusOr<admin::v1::CloseConnectionResponse> close_connection(
    Services& services, const CallContext& context,
    const admin::v1::CloseConnectionRequest& request) {
  SLUICE_ASSIGN_OR_RETURN(const std::string proxy, holder_of(services, request.connection_id()));
  if (!services.close_connection(proxy, request.connection_id())) {
    return unavailable(
        fmt::format("the proxy {}, which has the connection, is not connected: see `sluicectl "
                    "proxies list`, or POST /connections/{}/close to its admin port",
                    proxy, request.connection_id()));
  }
  log::info("user {} closes connection {} on proxy {}", context.user, request.connection_id(),
            proxy);
  admin::v1::CloseConnectionResponse response;
  response.set_proxy(proxy);
  return response;
}

}  // namespace

void add_usage_service(ServiceTable& table, Services& services) {
  table.add<admin::v1::ListRecordsRequest>(
      "sluice.admin.v1.UsageService.ListRecords", {},
      [&services](const CallContext&, const admin::v1::ListRecordsRequest& request) {
        return list_records(services, request);
      });
  table.add<admin::v1::GetUsageRequest>(
      "sluice.admin.v1.UsageService.GetUsage", {},
      [&services](const CallContext&, const admin::v1::GetUsageRequest& request) {
        return get_usage(services, request);
      });
  table.add<admin::v1::ListConnectionsRequest>(
      "sluice.admin.v1.UsageService.ListConnections", {},
      [&services](const CallContext&, const admin::v1::ListConnectionsRequest& request) {
        return list_connections(services, request);
      });
  table.add<admin::v1::CloseConnectionRequest>(
      "sluice.admin.v1.UsageService.CloseConnection", {},
      [&services](const CallContext& context, const admin::v1::CloseConnectionRequest& request) {
        return close_connection(services, context, request);
      });
}

}  // namespace sluice::controlplane::api
