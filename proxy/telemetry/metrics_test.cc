#include "proxy/telemetry/metrics.h"

#include <gtest/gtest.h>

namespace sluice::telemetry {
namespace {

TEST(Metrics, SumsTheCellsOfOneNameAndLabels) {
  Metrics metrics;
  Counter& a = metrics.counter("sluice_messages_total", "Messages.", {{"listener", "ws"}});
  Counter& b = metrics.counter("sluice_messages_total", "Messages.", {{"listener", "ws"}});
  Counter& c = metrics.counter("sluice_messages_total", "Messages.", {{"listener", "wss"}});
  a.add(3);
  b.add();
  c.add_shared(10);
  metrics.gauge("sluice_connections_live", "Live connections.").set(2);
  metrics.gauge("sluice_connections_live", "Live connections.").add(-5);
  EXPECT_EQ(metrics.text(),
            "# HELP sluice_connections_live Live connections.\n"
            "# TYPE sluice_connections_live gauge\n"
            "sluice_connections_live -3\n"
            "# HELP sluice_messages_total Messages.\n"
            "# TYPE sluice_messages_total counter\n"
            "sluice_messages_total{listener=\"ws\"} 4\n"
            "sluice_messages_total{listener=\"wss\"} 10\n");
}

TEST(Metrics, WritesCumulativeHistograms) {
  Metrics metrics;
  Histogram& a =
      metrics.histogram("sluice_handshake_seconds", "Handshakes.", {0.1, 1}, {{"api", "a\"\\\n"}});
  Histogram& b =
      metrics.histogram("sluice_handshake_seconds", "Handshakes.", {0.1, 1}, {{"api", "a\"\\\n"}});
  a.observe(0.05);
  a.observe(0.1);
  b.observe(0.5);
  b.observe(7);
  EXPECT_EQ(metrics.text(),
            "# HELP sluice_handshake_seconds Handshakes.\n"
            "# TYPE sluice_handshake_seconds histogram\n"
            "sluice_handshake_seconds_bucket{api=\"a\\\"\\\\\\n\",le=\"0.1\"} 2\n"
            "sluice_handshake_seconds_bucket{api=\"a\\\"\\\\\\n\",le=\"1\"} 3\n"
            "sluice_handshake_seconds_bucket{api=\"a\\\"\\\\\\n\",le=\"+Inf\"} 4\n"
            "sluice_handshake_seconds_sum{api=\"a\\\"\\\\\\n\"} 7.65\n"
            "sluice_handshake_seconds_count{api=\"a\\\"\\\\\\n\"} 4\n");
}

TEST(Metrics, AsksForWhatIsCountedElsewhere) {
  Metrics metrics;
  double value = 1.5;
  metrics.collect_value(Metrics::Type::kGauge, "sluice_spool_bytes", "Bytes.",
                        [&value] { return value; });
  metrics.collect(Metrics::Type::kCounter, "sluice_dials_total", "Dials.", [] {
    return std::vector<Metrics::Sample>{{{{"upstream", "a"}}, 3}, {{{"upstream", "b"}}, 1e12}};
  });
  metrics.collect(Metrics::Type::kCounter, "sluice_nothing_total", "None.",
                  [] { return std::vector<Metrics::Sample>(); });
  value = 2.25;
  EXPECT_EQ(metrics.text(),
            "# HELP sluice_dials_total Dials.\n"
            "# TYPE sluice_dials_total counter\n"
            "sluice_dials_total{upstream=\"a\"} 3\n"
            "sluice_dials_total{upstream=\"b\"} 1000000000000\n"
            "# HELP sluice_spool_bytes Bytes.\n"
            "# TYPE sluice_spool_bytes gauge\n"
            "sluice_spool_bytes 2.25\n");
}

TEST(Metrics, TellsAboutTheProcess) {
  Metrics metrics;
  add_process_metrics(metrics);
  const std::string text = metrics.text();
  for (const std::string_view name :
       {"process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds ",
        "process_max_fds ", "process_start_time_seconds ", "sluice_build_info{version="}) {
    EXPECT_NE(text.find("\n" + std::string(name)), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace sluice::telemetry
