#include "api/metrics.hpp"

#include "api/api.hpp"
#include "api/host_facts.hpp"
#include "api/refusals.hpp"

#include <fmt/format.h>

#include <unistd.h>
#include <array>
#include <cmath>
#include <fstream>
#include <sstream>

namespace sluice::api {
namespace {

const pg::Statement kStreams{"api_metric_streams", R"(
  select w.name, c.name, s.stream, case when s.enabled then s.state else 'off' end,
         s.consecutive_failures, extract(epoch from clock_timestamp() - s.last_success_at)::float8
  from (select * from sluice.stream order by workspace_id, connection_id, stream limit $1) s
  join sluice.connection c using (workspace_id, connection_id)
  join sluice.workspace w using (workspace_id)
  order by 1, 2, 3)"};

const pg::Statement kConnections{"api_metric_connections", R"(
  select w.name, c.name, c.state, q.n, f.n, f.failing
  from (select * from sluice.connection order by workspace_id, connection_id limit $1) c
  join sluice.workspace w using (workspace_id)
  cross join lateral (
    select coalesce(sum(case when x.external_id = '' then x.times else 1 end), 0)::bigint as n from (
      select i.external_id, i.times from sluice.quarantine i
      where i.workspace_id = c.workspace_id and i.connection_id = c.connection_id limit $2) x) q
  cross join lateral (
    select count(*) as n, count(*) filter (where x.attempts > 0) as failing from (
      select i.attempts from sluice.refetch i
      where i.workspace_id = c.workspace_id and i.connection_id = c.connection_id
      order by i.not_before limit $2) x) f
  order by 1, 2)"};

const pg::Statement kWorkspaces{"api_metric_workspaces", R"(
  select w.name, q.n
  from (select * from sluice.workspace order by workspace_id limit $1) w
  cross join lateral (
    select count(*) as n from (
      select 1 from sluice.link_queue i where i.workspace_id = w.workspace_id limit $2) x) q
  order by 1)"};

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

struct ProcessNumbers {
  std::int64_t resident_bytes = 0;
  double cpu_seconds = 0;
};

/// From /proc/self; zeros where that is not to be had.
ProcessNumbers process_numbers() {
  ProcessNumbers numbers;
  std::int64_t pages = 0, resident = 0;
  if (std::ifstream statm("/proc/self/statm"); statm >> pages >> resident)
    numbers.resident_bytes = resident * ::sysconf(_SC_PAGESIZE);
  std::string line;
  if (std::ifstream stat("/proc/self/stat"); std::getline(stat, line)) {
    // Behind the program's name, which may hold blanks: user and system time are fields 14 and 15.
    std::istringstream rest(line.substr(std::min(line.size(), line.rfind(')') + 1)));
    std::string skipped;
    std::int64_t user = 0, system = 0;
    for (int field = 3; field < 14; ++field) rest >> skipped;
    if (rest >> user >> system) {
      numbers.cpu_seconds =
          static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
    }
  }
  return numbers;
}

double seconds_of(std::chrono::microseconds time) {
  return std::chrono::duration<double>(time).count();
}

/// What `df` says, before it is too late.
void add_disks(Exposition& out, const HostFacts& host) {
  const auto of_each = [&](std::string_view name, std::string_view help, auto value) {
    out.gauge(name, help);
    for (const DiskNow& disk : host.disks())
      out.value(static_cast<std::int64_t>(value(disk)), {{"disk", disk.name}});
  };
  of_each("sluice_disk_free_bytes", "Room on the disk.",
          [](const DiskNow& disk) { return disk.free_bytes; });
  of_each("sluice_disk_total_bytes", "Its size.",
          [](const DiskNow& disk) { return disk.total_bytes; });
  of_each("sluice_disk_running_out", "1 when it is running out, by the settings disk.*.",
          [](const DiskNow& disk) { return disk.running_out ? 1 : 0; });
}

void add_engine(Exposition& out, const sync::EngineStats& stats) {
  out.counter("sluice_runs_total", "Sync and refetch runs that ended, by outcome.");
  out.value(stats.runs_done, {{"outcome", "done"}});
  out.value(stats.runs_failed, {{"outcome", "failed"}});
  out.counter("sluice_run_failures_total", "Runs that failed, by the class of the failure.");
  for (const auto& [failure_class, count] : stats.failures)
    out.value(count, {{"class", failure_class}});
  out.counter("sluice_pages_total", "Pages stored.", stats.pages);
  out.counter("sluice_records_total", "Records received from connectors.", stats.records);
  out.counter("sluice_records_by_outcome_total", "What became of records.");
  const std::pair<std::string_view, std::int64_t> outcomes[] = {
      {"inserted", stats.stored.inserted},   {"updated", stats.stored.updated},
      {"unchanged", stats.stored.unchanged}, {"older", stats.stored.older},
      {"deleted", stats.stored.deleted},     {"quarantined", stats.stored.quarantined}};
  for (const auto& [outcome, count] : outcomes) out.value(count, {{"outcome", outcome}});
  out.counter("sluice_notices_total", "Notices of changes received.", stats.stored.notices);
  out.counter("sluice_links_resolved_total", "Link decisions made.", stats.links_resolved);
  out.counter("sluice_leases_lost_total", "Leases that another host may have taken.",
              stats.leases_lost);
  out.gauge("sluice_connections_working", "Connections that this host works on.",
            static_cast<std::int64_t>(stats.working));
}

void add_fetch(Exposition& out, const fetch::Client& client) {
  const fetch::FetchStats& totals = client.totals();
  out.counter("sluice_vendor_requests_total", "Requests of connectors.", totals.requests);
  out.counter("sluice_vendor_attempts_total",
              "Transfers to vendors, retries included, by status class; none: no answer came.");
  static constexpr std::array<std::string_view, 6> kClasses = {"none", "1xx", "2xx",
                                                               "3xx",  "4xx", "5xx"};
  for (std::size_t i = 0; i < kClasses.size(); ++i)
    out.value(totals.by_status_class.at(i), {{"class", kClasses.at(i)}});
  out.counter("sluice_vendor_retries_total", "Transfers that were a further try.", totals.retries);
  out.counter("sluice_vendor_rate_limited_total",
              "Answers that say too fast: 429, 403 with Retry-After.", totals.rate_limited);
  out.counter("sluice_vendor_held_back_total",
              "Requests not sent because the vendor had asked for a long pause.", totals.held_back);
  out.counter("sluice_vendor_refused_total", "Requests that the egress policy refused.",
              totals.refused);
  out.counter("sluice_vendor_bytes_received_total", "Bodies as they came over the wire.",
              totals.bytes_received);
  out.counter("sluice_vendor_bytes_sent_total", "Bodies sent.", totals.bytes_sent);
  out.counter("sluice_vendor_budget_waits_total", "Transfers that waited for the rate budget.",
              totals.budget_waits);
  out.counter("sluice_vendor_budget_wait_seconds_total", "How long, all together.",
              static_cast<double>(totals.budget_wait_us) / 1e6);
  out.gauge("sluice_vendor_requests_in_flight", "Transfers under way.",
            static_cast<std::int64_t>(client.in_flight()));
}

void add_memory(Exposition& out, const Services& services) {
  const sync::PageBudgetStats pages = services.pages.stats();
  out.gauge("sluice_pages_in_flight", "Pages between vendor and store.",
            static_cast<std::int64_t>(pages.pages));
  out.gauge("sluice_page_bytes_in_flight", "Their memory, with the responses they are read from.",
            static_cast<std::int64_t>(pages.bytes));
  out.gauge("sluice_page_bytes_in_flight_max", "Setting sync.page_bytes_in_flight_max.",
            static_cast<std::int64_t>(pages.bytes_max));
  out.gauge("sluice_page_bytes_in_flight_peak", "The most since the start.",
            static_cast<std::int64_t>(pages.bytes_peak));
  out.counter("sluice_page_waits_total", "Steps that waited for room for a page.", pages.waits);
  const sync::StepPoolStats& steps = services.steps.stats();
  out.gauge("sluice_step_threads", "Threads for what connectors compute.",
            static_cast<std::int64_t>(steps.threads));
  out.gauge("sluice_steps_under_way", "Steps begun or queued.",
            static_cast<std::int64_t>(steps.under_way));
  const sync::StepPoolNow now = services.steps.now();
  out.gauge("sluice_steps_waiting", "Steps that wait for a thread.",
            static_cast<std::int64_t>(now.waiting));
  out.gauge("sluice_steps_longest_wait_seconds", "The longest of them, of who may have one.",
            static_cast<double>(now.longest_wait.count()) / 1000);
  out.gauge("sluice_step_threads_lost", "Threads that steps keep which were given up.",
            static_cast<std::int64_t>(now.lost));
  out.gauge("sluice_step_threads_full", "1 when no thread is replaced any more.",
            std::int64_t{now.full ? 1 : 0});
  out.gauge("sluice_step_workspaces_at_bound", "Workspaces with connectors that get no more.",
            static_cast<std::int64_t>(now.workspaces_at_bound()));
  out.counter("sluice_steps_total", "Steps that ended.", steps.steps);
  out.counter("sluice_steps_slow_total", "Steps that took longer than five seconds.", steps.slow);
  out.counter("sluice_steps_given_up_total", "Steps that did not come back.", steps.given_up);
  out.counter("sluice_step_busy_seconds_total", "Time in steps, all threads together.",
              seconds_of(steps.busy));
}

void add_process(Exposition& out, const Services& services) {
  out.gauge("sluice_build_info", "Which program this is; the value is always 1.");
  out.value(std::int64_t{1}, {{"version", services.version}, {"compiler", "GCC " __VERSION__}});
  const ProcessNumbers process = process_numbers();
  out.gauge("process_resident_memory_bytes", "Memory of this process.", process.resident_bytes);
  out.counter("process_cpu_seconds_total", "User and system time of this process.",
              process.cpu_seconds);
  out.gauge("sluice_pg_connections_in_use", "Database connections in use.");
  const pg::Pools& pools = services.pools;
  for (const pg::Pool* pool : {&pools.leases, &pools.work, &pools.changing, &pools.asking})
    out.value(static_cast<std::int64_t>(pool->in_use()), {{"pool", pool->name()}});
}

void add_gauges(Exposition& out, const DatabaseGauges& gauges) {
  using Labels = Exposition::Labels;
  const auto of = [](const DatabaseGauges::Stream& stream) {
    return Labels{{"workspace", stream.workspace},
                  {"connection", stream.connection},
                  {"stream", stream.name}};
  };
  out.gauge("sluice_stream_state", "1 for the state that a stream is in.");
  for (const auto& stream : gauges.streams) {
    Labels labels = of(stream);
    labels.emplace_back("state", stream.state);
    out.value(std::int64_t{1}, labels);
  }
  out.gauge("sluice_stream_consecutive_failures", "Failures in a row.");
  for (const auto& stream : gauges.streams) out.value(stream.failures, of(stream));
  out.gauge("sluice_stream_seconds_since_success", "Age of a stream's last success.");
  for (const auto& stream : gauges.streams) {
    if (stream.since_success) out.value(*stream.since_success, of(stream));
  }
  const auto per_connection = [&](std::string_view name, std::string_view help, auto member) {
    out.gauge(name, help);
    for (const auto& connection : gauges.connections) {
      out.value(connection.*member,
                {{"workspace", connection.workspace}, {"connection", connection.name}});
    }
  };
  out.gauge("sluice_connection_state", "1 for the state that a connection is in.");
  for (const auto& connection : gauges.connections) {
    out.value(std::int64_t{1}, {{"workspace", connection.workspace},
                                {"connection", connection.name},
                                {"state", connection.state}});
  }
  per_connection("sluice_quarantined_records", "Records in quarantine, counted to 10000.",
                 &DatabaseGauges::Connection::quarantined);
  per_connection("sluice_refetch_backlog", "Objects to be read again, counted to 10000.",
                 &DatabaseGauges::Connection::refetch);
  per_connection("sluice_refetch_failing", "Of them, those that failed before.",
                 &DatabaseGauges::Connection::refetch_failing);
  out.gauge("sluice_link_queue_backlog", "Link keys to be resolved, counted to 10000.");
  for (const auto& workspace : gauges.workspaces)
    out.value(workspace.link_queue, {{"workspace", workspace.name}});
  out.gauge("sluice_series_left_out",
            "1 when there are more workspaces, connections or streams than are shown.",
            gauges.left_out);
}

}  // namespace

void Exposition::begin(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_ += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, escaped(help, false), type);
}

void Exposition::sample(std::string number, const Labels& labels) {
  text_ += name_;
  if (!labels.empty()) {
    text_ += '{';
    for (const auto& [label, text] : labels) {
      if (text_.back() != '{') text_ += ',';
      text_ += fmt::format("{}=\"{}\"", label, escaped(text, true));
    }
    text_ += '}';
  }
  text_ += ' ';
  text_ += number;
  text_ += '\n';
}

void Exposition::value(double number, const Labels& labels) {
  if (std::isfinite(number)) sample(fmt::format("{}", number), labels);
}
void Exposition::value(std::int64_t number, const Labels& labels) {
  sample(fmt::format("{}", number), labels);
}
void Exposition::value(std::uint64_t number, const Labels& labels) {
  sample(fmt::format("{}", number), labels);
}

Task<DatabaseGauges> read_gauges(pg::Pool& pool, const Clock& clock) {
  const auto began = clock.steady();
  DatabaseGauges gauges;
  const auto streams = co_await pool.query(kStreams, pg::Params(kMetricStreamsMax + 1));
  for (int row = 0; row < streams.rows() && row < kMetricStreamsMax; ++row) {
    DatabaseGauges::Stream one;
    one.workspace = streams.get<std::string>(row, 0);
    one.connection = streams.get<std::string>(row, 1);
    one.name = streams.get<std::string>(row, 2);
    one.state = streams.get<std::string>(row, 3);
    one.failures = streams.get<std::int64_t>(row, 4);
    one.since_success = streams.get<std::optional<double>>(row, 5);
    gauges.streams.push_back(std::move(one));
  }
  const auto connections =
      co_await pool.query(kConnections, pg::Params(kMetricConnectionsMax + 1, kMetricBacklogMax));
  for (int row = 0; row < connections.rows() && row < kMetricConnectionsMax; ++row) {
    DatabaseGauges::Connection one;
    one.workspace = connections.get<std::string>(row, 0);
    one.name = connections.get<std::string>(row, 1);
    one.state = connections.get<std::string>(row, 2);
    one.quarantined = connections.get<std::int64_t>(row, 3);
    one.refetch = connections.get<std::int64_t>(row, 4);
    one.refetch_failing = connections.get<std::int64_t>(row, 5);
    gauges.connections.push_back(std::move(one));
  }
  const auto workspaces =
      co_await pool.query(kWorkspaces, pg::Params(kMetricWorkspacesMax + 1, kMetricBacklogMax));
  for (int row = 0; row < workspaces.rows() && row < kMetricWorkspacesMax; ++row) {
    DatabaseGauges::Workspace one;
    one.name = workspaces.get<std::string>(row, 0);
    one.link_queue = workspaces.get<std::int64_t>(row, 1);
    gauges.workspaces.push_back(std::move(one));
  }
  gauges.left_out = streams.rows() > kMetricStreamsMax ||
                            connections.rows() > kMetricConnectionsMax ||
                            workspaces.rows() > kMetricWorkspacesMax
                        ? 1
                        : 0;
  gauges.took = clock.steady() - began;
  co_return gauges;
}

std::string metrics_text(const Services& services, const Refusals& refusals, const Places& places,
                         const Cached<DatabaseGauges>::Answer& gauges) {
  Exposition out;
  add_process(out, services);
  add_disks(out, services.host);
  out.counter("sluice_tokens_wrong_total", "Requests with a token that is not valid.",
              refusals.wrong_total());
  out.counter("sluice_tokens_turned_away_total",
              "Requests of peers with many wrong tokens whose token was not looked at.",
              refusals.turned_away_total());
  out.gauge("sluice_requests_under_way", "Requests of clients that have a place.",
            static_cast<std::int64_t>(places.under_way()));
  out.counter("sluice_requests_too_many_total",
              "Requests that were refused because their workspace had its share of places.",
              places.refused_total());
  add_engine(out, services.engine.stats());
  add_fetch(out, services.client);
  add_memory(out, services);
  out.gauge("sluice_database_up", "1 when the database answered the last question of /metrics.",
            std::int64_t{gauges.failure.empty() ? 1 : 0});
  if (gauges.value) {
    out.gauge("sluice_database_gauges_age_seconds", "Age of all that follows.",
              std::chrono::duration<double>(services.clock.steady() - gauges.taken).count());
    add_gauges(out, *gauges.value);
  }
  return out.take();
}

}  // namespace sluice::api
