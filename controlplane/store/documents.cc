#include "controlplane/store/documents.h"

#include <fmt/format.h>

namespace sluice::controlplane::store {
namespace {

absl::Status no_such(const DocumentKey& key) {
  return not_found(fmt::format("no such entry in {}", key.collection));
}

}  // namespace

absl::Status put_document(Database& database, const DocumentKey& key, const std::string& blob,
                          std::int64_t expires_ms) {
  Statement statement = database.prepare(
      "INSERT OR REPLACE INTO documents (organisation, collection, key, blob, expires_ms) "
      "VALUES (?, ?, ?, ?, ?)");
  return statement.bind_text(key.organisation)
      .bind_text(key.collection)
      .bind_text(key.key)
      .bind_blob(blob)
      .bind(expires_ms)
      .run();
}

absl::StatusOr<Document> get_document(Database& database, const DocumentKey& key,
                                      std::int64_t now_ms) {
  Statement statement = database.prepare(
      "SELECT blob, expires_ms FROM documents WHERE organisation = ? AND collection = ? AND key = "
      "? "
      "AND (expires_ms = 0 OR expires_ms > ?)");
  SLUICE_ASSIGN_OR_RETURN(const bool found, statement.bind_text(key.organisation)
                                                .bind_text(key.collection)
                                                .bind_text(key.key)
                                                .bind(now_ms)
                                                .step());
  if (!found) {
    return no_such(key);
  }
  return Document{key.key, statement.text(0), statement.integer(1)};
}

absl::Status delete_document(Database& database, const DocumentKey& key) {
  Statement statement = database.prepare(
      "DELETE FROM documents WHERE organisation = ? AND collection = ? AND key = ?");
  SLUICE_RETURN_IF_ERROR(
      statement.bind_text(key.organisation).bind_text(key.collection).bind_text(key.key).run());
  return database.changed() == 0 ? no_such(key) : absl::OkStatus();
}

absl::StatusOr<std::vector<Document>> list_documents(Database& database,
                                                     const std::string& organisation,
                                                     const std::string& collection,
                                                     std::int64_t now_ms) {
  Statement statement = database.prepare(
      "SELECT key, blob, expires_ms FROM documents WHERE organisation = ? AND collection = ? "
      "AND (expires_ms = 0 OR expires_ms > ?) ORDER BY key");
  statement.bind_text(organisation).bind_text(collection).bind(now_ms);
  std::vector<Document> documents;
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, statement.step());
    if (!more) {
      return documents;
    }
    documents.push_back({statement.text(0), statement.text(1), statement.integer(2)});
  }
}

absl::Status drop_documents(Database& database, const std::string& organisation,
                            const std::string& collection, const std::string& blob) {
  Statement statement = database.prepare(
      "DELETE FROM documents WHERE organisation = ? AND collection = ? AND blob = ?");
  return statement.bind_text(organisation).bind_text(collection).bind_blob(blob).run();
}

absl::Status collect_documents(Database& database, std::int64_t now_ms) {
  Statement statement =
      database.prepare("DELETE FROM documents WHERE expires_ms > 0 AND expires_ms <= ?");
  return statement.bind(now_ms).run();
}

}  // namespace sluice::controlplane::store
