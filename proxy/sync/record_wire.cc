#include "proxy/sync/record_wire.h"

namespace sluice::sync {
namespace {

using Wire = sluice::telemetry::v1::Record;

Wire::Part part_of(telemetry::Part part) {
  switch (part) {
    case telemetry::Part::kInterim:
      return Wire::INTERIM;
    case telemetry::Part::kFinal:
      return Wire::FINAL;
    case telemetry::Part::kRecovered:
      return Wire::RECOVERED;
    case telemetry::Part::kRefused:
      return Wire::REFUSED;
  }
  return Wire::PART_UNSPECIFIED;
}

Wire::Side side_of(telemetry::CloseSide side) {
  switch (side) {
    case telemetry::CloseSide::kClient:
      return Wire::CLIENT;
    case telemetry::CloseSide::kBackend:
      return Wire::BACKEND;
    case telemetry::CloseSide::kProxy:
      return Wire::PROXY;
    case telemetry::CloseSide::kNone:
      break;
  }
  return Wire::SIDE_UNSPECIFIED;
}

void set_time(Wall time, google::protobuf::Timestamp& out) {
  const std::int64_t ns = time.time_since_epoch().count();
  out.set_seconds(ns / 1'000'000'000);
  out.set_nanos(static_cast<std::int32_t>(ns % 1'000'000'000));
}

void set_facts(const telemetry::Facts& facts, Wire& out) {
  out.set_connection_id(facts.connection_id);
  out.set_listener(facts.listener);
  out.set_api(facts.api);
  out.set_api_version(facts.api_version);
  out.set_application(facts.application);
  out.set_plan(facts.plan);
  if (!facts.application.empty()) {
    out.set_key_type(facts.key_type == model::KeyType::kSandbox ? config::v1::SANDBOX
                                                                : config::v1::PRODUCTION);
  }
  out.set_user(facts.user);
  out.set_client_address(facts.client_address);
  out.set_user_agent(facts.user_agent);
  out.set_topic(facts.topic);
  out.set_endpoint(facts.endpoint);
  set_time(facts.begin, *out.mutable_begin());
  out.set_handshake_us(facts.handshake_us);
  out.set_token_id(facts.token_id);
}

}  // namespace

Wire to_wire(const telemetry::NumberedRecord& numbered) {
  const telemetry::Record& record = numbered.record;
  Wire out;
  out.set_epoch(numbered.epoch);
  out.set_sequence(numbered.sequence);
  out.set_dropped_before(numbered.dropped_before);
  out.set_part(part_of(record.part));
  set_facts(record.facts, out);
  set_time(record.end, *out.mutable_end());
  out.set_status(static_cast<std::uint32_t>(record.status));
  out.set_code(static_cast<std::uint32_t>(record.code));
  out.set_close_code(static_cast<std::uint32_t>(record.close_code));
  out.set_close_side(side_of(record.close_side));
  out.set_reason(record.reason);
  out.set_messages_up(record.counts.messages_up);
  out.set_messages_down(record.counts.messages_down);
  out.set_bytes_up(record.counts.bytes_up);
  out.set_bytes_down(record.counts.bytes_down);
  out.set_throttled_up(record.counts.throttled_up);
  out.set_throttled_down(record.counts.throttled_down);
  return out;
}

}  // namespace sluice::sync
