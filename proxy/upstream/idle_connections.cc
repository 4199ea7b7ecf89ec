#include "proxy/upstream/idle_connections.h"

#include <algorithm>
#include <utility>

namespace sluice::upstream {
namespace {

Mono end_of(const Cluster& cluster, Mono made, Mono now) {
  const Mono idle = now + cluster.idle_timeout;
  return cluster.age_max > nanoseconds::zero() ? std::min(idle, made + cluster.age_max) : idle;
}

}  // namespace

class IdleConnections::Entry final : public net::SideUser {
 public:
  Entry(IdleConnections& owner, const Lease& lease, Connected connection, Mono end)
      : owner_(owner),
        key_(lease.key()),
        tls_(lease.cluster().tls),
        server_name_(lease.cluster().server_name),
        connection_(std::move(connection)),
        timer_([](void* self) { static_cast<Entry*>(self)->end(); }, this) {
    connection_.side->set_user(this);
    connection_.side->resume();
    owner_.loop_.timers().arm(timer_, end);
  }

  // Bytes that nobody asked for: whoever got the connection next would take them for its answer.
  void on_bytes(net::Side& /*side*/, MutableBytes /*bytes*/) override { end(); }
  void on_end(net::Side& /*side*/) override { end(); }
  void on_error(net::Side& /*side*/, absl::Status /*status*/) override { end(); }
  void on_writable(net::Side& /*side*/) override {}

  const EndpointState* key() const { return key_; }
  bool trusts_as(const Cluster& cluster) const {
    return tls_ == cluster.tls && server_name_ == cluster.server_name;
  }
  Connected release() {
    connection_.side->set_user(nullptr);
    return std::move(connection_);
  }

 private:
  void end() { owner_.close(*this); }

  IdleConnections& owner_;
  const EndpointState* key_;
  std::shared_ptr<const net::TlsClientContext> tls_;
  std::string server_name_;
  Connected connection_;
  Timer timer_;
};

IdleConnections::IdleConnections(net::Loop& loop) : loop_(loop) {}
IdleConnections::~IdleConnections() = default;

std::unique_ptr<IdleConnections::Entry> IdleConnections::remove(const EndpointState* key,
                                                                std::size_t index) {
  const auto found = entries_.find(key);
  auto& same = found->second;
  std::unique_ptr<Entry> entry = std::move(same[index]);
  same.erase(same.begin() + static_cast<std::ptrdiff_t>(index));
  if (same.empty()) {
    entries_.erase(found);
  }
  --size_;
  return entry;
}

std::optional<Connected> IdleConnections::take(const Lease& lease) {
  for (auto found = entries_.find(lease.key()); found != entries_.end();
       found = entries_.find(lease.key())) {
    const std::unique_ptr<Entry> last = remove(lease.key(), found->second.size() - 1);
    if (last->trusts_as(lease.cluster())) {
      return last->release();
    }
  }
  return std::nullopt;
}

void IdleConnections::put(const Lease& lease, Connected connection) {
  const Mono now = loop_.clock().now();
  const Mono end = end_of(lease.cluster(), connection.made, now);
  if (size_ >= limits::kUpstreamIdleMax || end <= now) {
    return;
  }
  auto& same = entries_[lease.key()];
  if (same.size() < limits::kUpstreamIdlePerEndpointMax) {
    same.push_back(std::make_unique<Entry>(*this, lease, std::move(connection), end));
    ++size_;
  }
}

void IdleConnections::close(Entry& entry) {
  const auto& same = entries_.find(entry.key())->second;
  const auto it = std::find_if(same.begin(), same.end(),
                               [&](const auto& one) { return one.get() == &entry; });
  const std::unique_ptr<Entry> ended =
      remove(entry.key(), static_cast<std::size_t>(it - same.begin()));
}

}  // namespace sluice::upstream
