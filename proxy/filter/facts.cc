#include "proxy/filter/facts.h"

#include "proxy/base/encoding.h"

namespace sluice::filter {

telemetry::Facts facts_of(const Exchange& exchange) {
  telemetry::Facts facts;
  facts.connection_id = exchange.id;
  facts.listener = exchange.listener;
  if (exchange.api != nullptr) {
    facts.api = exchange.api->name;
    facts.api_version = exchange.api->version;
  }
  if (exchange.principal) {
    facts.application = exchange.principal->application;
    facts.plan = exchange.principal->subscription_plan;
    facts.user = exchange.principal->user;
    facts.key_type = exchange.principal->key_type;
    facts.token_id = hex(exchange.principal->token).substr(0, 16);
  }
  facts.client_address = exchange.client_address;
  facts.user_agent = exchange.request.headers.get("User-Agent");
  facts.topic = exchange.topic;
  facts.endpoint = exchange.endpoint;
  facts.begin = exchange.begin;
  facts.handshake_us = exchange.handshake_us;
  return facts;
}

}  // namespace sluice::filter
