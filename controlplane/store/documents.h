// Documents: small blobs by key, with an expiry.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "controlplane/store/database.h"
#include "controlplane/store/store.h"

namespace sluice::controlplane::store {

struct DocumentKey {
  std::string organisation;
  std::string collection;
  std::string key;
};

absl::Status put_document(Database& database, const DocumentKey& key, const std::string& blob,
                          std::int64_t expires_ms);
absl::StatusOr<Document> get_document(Database& database, const DocumentKey& key,
                                      std::int64_t now_ms);
absl::Status delete_document(Database& database, const DocumentKey& key);
absl::StatusOr<std::vector<Document>> list_documents(Database& database,
                                                     const std::string& organisation,
                                                     const std::string& collection,
                                                     std::int64_t now_ms);
// Deletes those whose blob is this.
absl::Status drop_documents(Database& database, const std::string& organisation,
                            const std::string& collection, const std::string& blob);
// Deletes those that have expired.
absl::Status collect_documents(Database& database, std::int64_t now_ms);

}  // namespace sluice::controlplane::store
