#include <sys/socket.h>

#include <csignal>

#include "proxy/base/limits.h"
#include "proxy/net/pipe.h"
#include "proxy/net/testing.h"

namespace sluice::net {
namespace {

using testing::make_tcp_pair;
using testing::pattern;
using testing::run_until;
using testing::TcpPair;
using testing::Witness;

// Splices from one side to another as a relay does, `bytes_max` at a time: what the other does not
// take is kept, and reading stops meanwhile.
class Joint final : public SideUser {
 public:
  Joint(Side& from, Side& to, std::uint64_t bytes_max) : from_(from), to_(to), max_(bytes_max) {
    from_.set_user(this);
    to_.set_user(this);
    can_ = from_.splice(to_, max_);
    from_.resume();
  }
  ~Joint() override {
    from_.set_user(nullptr);
    to_.set_user(nullptr);
  }

  void on_bytes(Side&, MutableBytes bytes) override { seen += bytes.size(); }
  void on_spliced(Side& side, std::size_t moved, MutableBytes rest) override {
    EXPECT_EQ(&side, &from_);
    spliced += moved + rest.size();
    max_left_ -= moved + rest.size();
    rest_ += as_text(rest);
    flush();
    if (max_left_ == 0) {
      max_left_ = max_;
      from_.splice(to_, max_);
    }
  }
  void on_end(Side&) override { ended = true; }
  void on_error(Side&, absl::Status) override { broken = true; }
  void on_writable(Side&) override { flush(); }

  bool can() const { return can_; }
  std::size_t seen = 0;
  std::size_t spliced = 0;
  int stops = 0;
  bool ended = false;
  bool broken = false;

 private:
  void flush() {
    rest_.erase(0, to_.write(as_bytes(rest_)));
    if (rest_.empty()) {
      from_.resume();
    } else {
      ++stops;
      from_.pause();
    }
  }

  Side& from_;
  Side& to_;
  std::uint64_t max_;
  std::uint64_t max_left_ = max_;
  bool can_ = false;
  std::string rest_;
};

class SpliceTest : public ::testing::Test {
 protected:
  SpliceTest() : loop(1) {
    std::signal(SIGPIPE, SIG_IGN);  // as the proxy does
    TcpPair one = make_tcp_pair(loop);
    TcpPair two = make_tcp_pair(loop);
    source = std::make_unique<Witness>(std::move(one.client));
    from = std::move(one.server);
    to = std::move(two.server);
    sink = std::make_unique<Witness>(std::move(two.client));
  }
  Loop loop;
  std::unique_ptr<Side> from;
  std::unique_ptr<Side> to;
  std::unique_ptr<Witness> source;
  std::unique_ptr<Witness> sink;
};

TEST_F(SpliceTest, MovesEveryByteInOrderAndShowsNone) {
  const std::string text = pattern(9'000'000);
  Joint joint(*from, *to, 1'000'000);
  ASSERT_TRUE(joint.can());
  source->end_after = true;
  source->send(text);
  ASSERT_TRUE(run_until(loop, [&] { return sink->total == text.size() && joint.ended; }));
  EXPECT_TRUE(sink->received == text);
  EXPECT_EQ(joint.spliced, text.size());
  EXPECT_EQ(joint.seen, 0U);
}

TEST_F(SpliceTest, KeepsWhatASlowReaderDoesNotTake) {
  const std::string text = pattern(12'000'000, 2);
  sink->pause_each = true;
  Joint joint(*from, *to, 3'000'000);
  source->send(text);
  ASSERT_TRUE(run_until(loop, [&] {
    if (sink->paused) sink->resume();
    return sink->total == text.size();
  }));
  EXPECT_TRUE(sink->received == text);
  EXPECT_GT(joint.stops, 0);
}

TEST_F(SpliceTest, ShowsWhatComesBehindTheSplicedBytes) {
  source->send(pattern(400'000));
  from->splice(*to, 300'000);
  struct Once final : SideUser {
    void on_bytes(Side&, MutableBytes bytes) override { seen += bytes.size(); }
    void on_spliced(Side&, std::size_t moved, MutableBytes rest) override {
      spliced += moved + rest.size();
    }
    void on_end(Side&) override {}
    void on_error(Side&, absl::Status) override {}
    void on_writable(Side&) override {}
    std::size_t seen = 0;
    std::size_t spliced = 0;
  } once;
  from->set_user(&once);
  from->resume();
  ASSERT_TRUE(run_until(loop, [&] { return once.seen + once.spliced == 400'000; }));
  EXPECT_EQ(once.spliced, 300'000U);
  from->set_user(nullptr);
}

TEST_F(SpliceTest, TellsOfATargetThatIsGoneAndReadsOn) {
  Joint joint(*from, *to, 1'000'000'000);
  source->send(pattern(500'000));
  ASSERT_TRUE(run_until(loop, [&] { return sink->total > 0; }));
  sink->side.reset();
  source->send(pattern(4'000'000));
  ASSERT_TRUE(run_until(loop, [&] { return joint.broken; }));
  source->end_after = true;
  source->send("x");
  EXPECT_TRUE(run_until(loop, [&] { return joint.ended; }));
}

TEST_F(SpliceTest, CannotWhereASideIsNoSocket) {
  auto [near, far] = make_pipe(loop, std::make_shared<PipeRules>());
  EXPECT_FALSE(from->splice(*near, 1'000'000));
  EXPECT_FALSE(near->splice(*to, 1'000'000));
  EXPECT_FALSE(from->splice(*to, 0));
}

}  // namespace
}  // namespace sluice::net
