// What this folder's tests share. Not part of any program.
#pragma once

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/config/compile.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::config::testing {

// A filter without hooks; its settings may hold anything but a field `bad`.
class TestFactory final : public filter::FilterFactory {
 public:
  filter::Hooks hooks() const override { return {}; }
  std::unique_ptr<filter::Filter> make() const override {
    return std::make_unique<filter::Filter>();
  }
};

inline filter::FilterRegistry make_registry() {
  filter::FilterRegistry registry;
  for (const char* name : {"auth", "throttling", "analytics", "passthrough"}) {
    registry.add(
        name,
        [](const google::protobuf::Struct& config,
           filter::SharedState&) -> absl::StatusOr<std::shared_ptr<const filter::FilterFactory>> {
          if (config.fields().contains("bad")) {
            return invalid_argument("bad: there is no such field");
          }
          return std::make_shared<const TestFactory>();
        });
  }
  return registry;
}

// From protobuf's text form; what stands later wins.
template <class Spec>
Spec spec(const std::string& text) {
  Spec message;
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString(text, &message)) << text;
  return message;
}

template <class Spec>
Resource resource(Kind kind, std::string name, const std::string& text) {
  return {kind, std::move(name), "1", spec<Spec>(text).SerializeAsString()};
}
inline Resource api(std::string name, const std::string& text) {
  return resource<v1::Api>(Kind::kApi, std::move(name), text);
}
inline Resource plan(std::string name, const std::string& text) {
  return resource<v1::Plan>(Kind::kPlan, std::move(name), text);
}
inline Resource upstream(std::string name, const std::string& text) {
  return resource<v1::Upstream>(Kind::kUpstream, std::move(name), text);
}
inline Resource listener(std::string name, const std::string& text) {
  return resource<v1::Listener>(Kind::kListener, std::move(name), text);
}

// A published API with everything that it must have.
inline std::string published(const std::string& context, const std::string& version,
                             const std::string& more = "") {
  return "context: '" + context + "' version: '" + version +
         "' state: PUBLISHED plans: 'Unlimited' endpoints { production: 'ws://127.0.0.1:9100/' } " +
         more;
}

struct Certificate {
  std::string certificate_pem;
  std::string key_pem;
};

// A self-signed certificate for `name`, made anew.
inline Certificate make_certificate(const std::string& name) {
  const auto text = [](BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string out(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    return out;
  };
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate, subject);
  X509_sign(certificate, key, EVP_sha256());
  BIO* certificate_bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(certificate_bio, certificate);
  BIO* key_bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(key_bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return {text(certificate_bio), text(key_bio)};
}

inline Resource secret(std::string name, const Certificate& certificate) {
  v1::Secret message;
  message.set_certificate_pem(certificate.certificate_pem);
  message.set_private_key_pem(certificate.key_pem);
  return {Kind::kSecret, std::move(name), "1", message.SerializeAsString()};
}

// A control thread's view: the newest snapshot, changed by deltas.
class CompileTest : public ::testing::Test {
 protected:
  CompileTest() : registry(make_registry()), context{registry, shared, {}, {}, {}, {}} {}

  CompileResult apply(const Delta& delta) {
    CompileResult result = compile(snapshot, delta, context);
    snapshot = result.snapshot;
    return result;
  }
  CompileResult put(std::vector<Resource> upserts) { return apply({std::move(upserts), {}}); }
  CompileResult remove(std::vector<ResourceKey> removals) {
    return apply({{}, std::move(removals)});
  }
  // Must hold.
  void give(std::vector<Resource> upserts) {
    const CompileResult result = put(std::move(upserts));
    EXPECT_TRUE(result.faults.empty()) << text(result.faults);
  }

  // "Kind name: field" of each fault.
  static std::vector<std::string> fields(const CompileResult& result) {
    std::vector<std::string> all;
    for (const Fault& fault : result.faults) {
      all.push_back(std::string(kind_name(fault.kind)) + " " + fault.name + ": " + fault.field);
    }
    return all;
  }
  // "kind name" of each changed subject.
  static std::vector<std::string> changed(const CompileResult& result) {
    using K = model::Subject::Kind;
    std::vector<std::string> all;
    for (const model::Subject& subject : result.changed) {
      const char* kind = subject.kind == K::kApi        ? "api "
                         : subject.kind == K::kPlan     ? "plan "
                         : subject.kind == K::kUpstream ? "upstream "
                         : subject.kind == K::kListener ? "listener "
                                                        : "? ";
      all.push_back(kind + subject.name);
    }
    return all;
  }
  // The API that a path is routed to, and its topic: "name topic"; "" for none.
  std::string route(std::string_view path) const {
    const RouteMatch match = snapshot->route(path);
    return match.api == nullptr ? "" : match.api->api.name + " " + std::string(match.topic);
  }

  filter::FilterRegistry registry;
  filter::SharedState shared;
  CompileContext context;
  std::shared_ptr<const Snapshot> snapshot;
};

using Strings = std::vector<std::string>;

}  // namespace sluice::config::testing
