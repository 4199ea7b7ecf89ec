// Records from telemetry's plain form to the wire's.
#pragma once

#include "proxy/telemetry/sink.h"
#include "sluice/telemetry/v1/telemetry.pb.h"

namespace sluice::sync {

// `proxy` stays empty: the control plane fills it from the client certificate.
sluice::telemetry::v1::Record to_wire(const telemetry::NumberedRecord& numbered);

}  // namespace sluice::sync
