// Which proxy uploads.
#pragma once

#include "controlplane/analytics/record_service.h"
#include "controlplane/pki/join.h"

namespace sluice::controlplane::analytics {

// By its client certificate; one that joined and was not removed. `proxies` outlives the result.
RecordService::Identify by_certificate(const pki::Proxies& proxies);

// Plain text: by the metadata `sluice-node-id`, believed.
RecordService::Identify by_metadata();

}  // namespace sluice::controlplane::analytics
