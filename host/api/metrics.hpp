// What /metrics says, in the text format of Prometheus.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/cached.hpp"
#include "base/async.hpp"
#include "base/clock.hpp"
#include "pg/pool.hpp"

namespace sluice::api {

struct Services;
class Places;
class Refusals;

/// Builds the exposition format, version 0.0.4: families in the order in which they are begun, each
/// with its help and type, label values escaped.
class Exposition {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

  void counter(std::string_view name, std::string_view help) { begin(name, "counter", help); }
  void gauge(std::string_view name, std::string_view help) { begin(name, "gauge", help); }
  /// Of the family begun last. What is no finite number is left out.
  void value(double number, const Labels& labels = {});
  void value(std::int64_t number, const Labels& labels = {});
  void value(std::uint64_t number, const Labels& labels = {});

  /// Family and its one sample.
  template <class Number>
  void counter(std::string_view name, std::string_view help, Number number) {
    counter(name, help);
    value(number);
  }
  template <class Number>
  void gauge(std::string_view name, std::string_view help, Number number) {
    gauge(name, help);
    value(number);
  }

  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void begin(std::string_view name, std::string_view type, std::string_view help);
  void sample(std::string number, const Labels& labels);
  std::string text_;
  std::string name_;
};

// No more series than these, however many connections there are: "sluice_series_left_out" counts
// what does not fit.
inline constexpr std::int64_t kMetricStreamsMax = 2000;
inline constexpr std::int64_t kMetricConnectionsMax = 500;
inline constexpr std::int64_t kMetricWorkspacesMax = 500;
/// Backlogs are counted so far; a gauge that shows this much means at least so much.
inline constexpr std::int64_t kMetricBacklogMax = 10'000;

/// What only the database knows; taken at most every few seconds, by index scans with bounds.
struct DatabaseGauges {
  struct Stream {
    std::string workspace, connection, name, state;
    std::int64_t failures = 0;
    std::optional<double> since_success;  ///< seconds
  };
  struct Connection {
    std::string workspace, name, state;
    std::int64_t quarantined = 0, refetch = 0, refetch_failing = 0;
  };
  struct Workspace {
    std::string name;
    std::int64_t link_queue = 0;
  };
  std::vector<Stream> streams;
  std::vector<Connection> connections;
  std::vector<Workspace> workspaces;
  std::int64_t left_out = 0;
  std::chrono::steady_clock::duration took{0};
};

Task<DatabaseGauges> read_gauges(pg::Pool& pool, const Clock& clock);

/// Counters of this process, and the gauges as far as they are there.
[[nodiscard]] std::string metrics_text(const Services& services, const Refusals& refusals,
                                       const Places& places,
                                       const Cached<DatabaseGauges>::Answer& gauges);

}  // namespace sluice::api
