// How fast does a page get from the vendor into the store, and how near is that to what PostgreSQL
// alone would take? See README.md beside this file.
#include <fmt/format.h>
#include <sys/mman.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "bench/parts/child.hpp"
#include "bench/parts/figures.hpp"
#include "bench/parts/host_side.hpp"
#include "bench/parts/page_server.hpp"
#include "bench/parts/tape.hpp"
#include "bench/parts/world.hpp"

namespace sluice::bench {
namespace {

using nlohmann::json;

constexpr std::int64_t kExistingSmall = 100'000;

struct Options {
  std::int64_t records = 1'000'000;
  int pairs = 3;
  int workers = 1;
  std::int64_t existing = 0;
  std::string path = "copy";
  std::string resync = "recorded";
};

/// To so many digits behind the point.
double rounded(double value, int digits) {
  const double scale = std::pow(10, digits);
  return std::round(value * scale) / scale;
}

/// One pass of one side: what it took, per record.
struct Pass {
  double per_s = 0;
  double pg_cpu_us = 0;
  double host_cpu_us = 0;
  double wal_bytes = 0;
  json detail;
};

class Bench {
 public:
  explicit Bench(Options options)
      : options_(options), world_(WorldOptions{options.workers}), server_("serve") {
    pages_ = std::max<std::int64_t>(1, options_.records / kPageRecords / options_.workers);
    records_ = static_cast<double>(pages_ * kPageRecords * options_.workers);
  }

  json compare();
  json growth();

 private:
  Pass host(const std::string& conninfo, std::int64_t set, std::int64_t enumeration,
            const std::vector<int>& tapes = {});
  Pass floor(const std::string& conninfo, const std::vector<int>& tapes);
  template <class Run>
  Pass measured(Run run);
  std::string fresh_database(const std::string& name);
  std::string contents(const std::string& conninfo);
  json at_size(std::int64_t existing);

  Options options_;
  World world_;
  Background server_;
  std::int64_t pages_ = 0;
  double records_ = 0;
};

template <class Run>
Pass Bench::measured(Run run) {
  const std::int64_t wal = world_.wal_position();
  const double cpu = children_cpu_seconds(world_.postmaster_pid());
  Pass pass;
  pass.detail = run();
  pass.pg_cpu_us = world_.backends_cpu_since(cpu) / records_ * 1e6;
  pass.wal_bytes = static_cast<double>(world_.wal_position() - wal) / records_;
  pass.per_s = records_ / pass.detail.at("seconds").get<double>();
  pass.host_cpu_us = pass.detail.value("cpu_s", 0.0) / records_ * 1e6;
  return pass;
}

Pass Bench::host(const std::string& conninfo, std::int64_t set, std::int64_t enumeration,
                 const std::vector<int>& tapes) {
  json arguments = json::object();
  arguments["conninfo"] = conninfo;
  arguments["port"] = std::stoi(server_.first_line());
  arguments["directory"] = world_.directory() + "/connectors";
  arguments["workers"] = options_.workers;
  arguments["pages"] = pages_;
  arguments["set"] = set;
  arguments["enumeration"] = enumeration;
  arguments["tapes"] = tapes;
  return measured([&] { return run_role("host", arguments); });
}

Pass Bench::floor(const std::string& conninfo, const std::vector<int>& tapes) {
  json arguments = json::object();
  arguments["conninfo"] = conninfo;
  arguments["tapes"] = tapes;
  return measured([&] { return run_role("floor", arguments); });
}

std::string Bench::fresh_database(const std::string& name) {
  const std::string conninfo = world_.make_database(name);
  if (options_.path == "insert") world_.seed_one_row(conninfo);
  return conninfo;
}

/// So that both sides are seen to have written the same.
std::string Bench::contents(const std::string& conninfo) {
  return world_.ask(conninfo,
                    "select concat_ws(' ', (select count(*) from vendor.bench_item), "
                    "(select count(*) from sluice.link_key), (select count(*) from "
                    "sluice.link_queue), (select count(*) from sluice.change), "
                    "(select sum(records) from sluice.sync_run), "
                    "(select sum(records_total) from sluice.stream))");
}

json Bench::compare() {
  std::vector<int> tapes;
  for (int worker = 0; worker < options_.workers; ++worker)
    tapes.push_back(::memfd_create("tape", 0));
  fmt::print("records {}, pages of {}, workers {}, pairs {}, path {}\n", records_, kPageRecords,
             options_.workers, options_.pairs, options_.path);
  const Pass recorded = host(fresh_database("recorded"), 0, 0, tapes);
  world_.drop_database("recorded");
  fmt::print("recorded what the host sends, at {:.0f}/s\n", recorded.per_s);
  std::vector<double> fresh, floors, ratios, unchanged, over_fresh, wal, rss, cpu, pg_fresh,
      pg_floor, pg_unchanged, wal_fresh;
  json rss_quarters;
  for (int pair = 0; pair < options_.pairs; ++pair) {
    const std::string ours = fresh_database("ours");
    const Pass f = host(ours, 0, 0);
    const std::string our_rows = contents(ours);
    world_.checkpoint();
    const Pass u = host(ours, 0, options_.resync == "recorded" ? 1 : 0);
    if (u.detail.at("unchanged").get<double>() != records_)
      throw std::runtime_error("a re-sync changed something: " + u.detail.dump());
    world_.drop_database("ours");
    const std::string plain = fresh_database("plain");
    const Pass r = floor(plain, tapes);
    const std::string floor_rows = contents(plain);
    world_.drop_database("plain");
    if (our_rows != floor_rows)
      throw std::runtime_error("the sides wrote different rows: " + our_rows + " / " + floor_rows);
    fmt::print(
        "fresh {:.0f}/s (PG {:.1f} us, host {:.1f} us, WAL {:.0f} B)  floor {:.0f}/s (PG {:.1f} "
        "us)  ratio {:.3f}  unchanged {:.0f}/s (PG {:.1f} us, host {:.1f} us, WAL {:.2f} B)  "
        "peak {:.0f} MB {}\n",
        f.per_s, f.pg_cpu_us, f.host_cpu_us, f.wal_bytes, r.per_s, r.pg_cpu_us, f.per_s / r.per_s,
        u.per_s, u.pg_cpu_us, u.host_cpu_us, u.wal_bytes, f.detail.at("peak_rss_mb").get<double>(),
        f.detail.at("rss_mb").dump());
    std::fflush(stdout);
    fresh.push_back(f.per_s);
    floors.push_back(r.per_s);
    ratios.push_back(f.per_s / r.per_s);
    unchanged.push_back(u.per_s);
    over_fresh.push_back(u.per_s / f.per_s);
    wal.push_back(u.wal_bytes);
    rss.push_back(std::max(f.detail.at("peak_rss_mb").get<double>(),
                           u.detail.at("peak_rss_mb").get<double>()));
    cpu.push_back(f.host_cpu_us);
    pg_fresh.push_back(f.pg_cpu_us);
    pg_floor.push_back(r.pg_cpu_us);
    pg_unchanged.push_back(u.pg_cpu_us);
    wal_fresh.push_back(f.wal_bytes);
    rss_quarters = f.detail.at("rss_mb");
  }
  json line = json::object();
  line["fresh_per_s"] = rounded(median(fresh), 0);
  line["floor_per_s"] = rounded(median(floors), 0);
  line["ratio_fresh"] = rounded(median(ratios), 3);
  line["unchanged_per_s"] = rounded(median(unchanged), 0);
  line["unchanged_over_fresh"] = rounded(median(over_fresh), 2);
  line["wal_bytes_per_unchanged"] = rounded(median(wal), 2);
  line["peak_rss_mb"] = rounded(*std::max_element(rss.begin(), rss.end()), 1);
  line["rss_mb_by_quarters"] = rss_quarters;
  line["host_cpu_us_per_fresh"] = rounded(median(cpu), 2);
  line["pg_cpu_us_per_fresh"] = rounded(median(pg_fresh), 2);
  line["pg_cpu_us_per_floor"] = rounded(median(pg_floor), 2);
  line["pg_cpu_us_per_unchanged"] = rounded(median(pg_unchanged), 2);
  line["wal_bytes_per_fresh"] = rounded(median(wal_fresh), 0);
  return line;
}

/// Cost per record with so many rows there already.
json Bench::at_size(std::int64_t existing) {
  const std::string conninfo = world_.make_database("existing");
  world_.load_existing(conninfo, existing);
  std::vector<double> fresh, unchanged;
  for (int turn = 1; turn <= options_.pairs; ++turn) {
    world_.checkpoint();
    const std::int64_t set = turn * 1000;
    const Pass f = host(conninfo, set, 0);
    world_.checkpoint();
    const Pass u = host(conninfo, set, options_.resync == "recorded" ? 1 : 0);
    fmt::print("{} rows there: fresh {:.2f} us (PG {:.1f}), unchanged {:.2f} us (PG {:.1f})\n",
               existing, 1e6 / f.per_s, f.pg_cpu_us, 1e6 / u.per_s, u.pg_cpu_us);
    std::fflush(stdout);
    fresh.push_back(1e6 / f.per_s);
    unchanged.push_back(1e6 / u.per_s);
  }
  world_.drop_database("existing");
  json result = json::object();
  result["fresh_us"] = rounded(median(fresh), 2);
  result["unchanged_us"] = rounded(median(unchanged), 2);
  return result;
}

json Bench::growth() {
  const json small = at_size(kExistingSmall);
  const json large = at_size(options_.existing);
  json line = json::object();
  line["existing_small"] = kExistingSmall;
  line["existing"] = options_.existing;
  line["small"] = small;
  line["large"] = large;
  line["fresh_large_over_small"] =
      rounded(large.at("fresh_us").get<double>() / small.at("fresh_us").get<double>(), 2);
  line["unchanged_large_over_small"] =
      rounded(large.at("unchanged_us").get<double>() / small.at("unchanged_us").get<double>(), 2);
  return line;
}

int play_role(const std::string& role, const char* text) {
  if (role == "serve") serve_pages(STDOUT_FILENO);
  const json arguments = json::parse(text);
  json result = json::object();
  if (role == "host") {
    result = run_host(arguments);
  } else {
    const Replay replay = play_tapes(arguments.at("conninfo"), arguments.at("tapes"));
    result["seconds"] = replay.seconds;
    result["pages"] = replay.pages;
  }
  fmt::print("{}\n", result.dump());
  return 0;
}

int run(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "--role") == 0) return play_role(argv[2], argv[3]);
  Options options;
  CLI::App app("HTTP to committed, against a plain program that sends the same to PostgreSQL");
  app.add_option("--records", options.records, "records of a pass, all workers together");
  app.add_option("--pairs", options.pairs, "alternating pairs; the medians count");
  app.add_option("--workers", options.workers, "streams and database connections side by side");
  app.add_option("--existing", options.existing,
                 "instead of the floor: cost per record with 100,000 and with so many rows there");
  app.add_option("--path", options.path, "copy: into empty types; insert: into types with a row")
      ->check(CLI::IsMember({"copy", "insert"}));
  app.add_option("--resync", options.resync,
                 "recorded: the re-sync keeps its ids, to find deletions; plain: it does not")
      ->check(CLI::IsMember({"recorded", "plain"}));
  CLI11_PARSE(app, argc, argv);
  if (options.existing > 0 && options.workers != 1) {
    fmt::print(stderr, "--existing is for one worker\n");
    return 64;
  }
  Bench bench(options);
  const json line = options.existing > 0 ? bench.growth() : bench.compare();
  // The names that others rely on come first, in their order.
  nlohmann::ordered_json last = nlohmann::ordered_json::object();
  last["bench"] = "ingest";
  for (const char* name : {"fresh_per_s", "floor_per_s", "ratio_fresh", "unchanged_per_s",
                           "unchanged_over_fresh", "wal_bytes_per_unchanged", "peak_rss_mb"}) {
    if (line.contains(name)) last[name] = line.at(name);
  }
  last["records"] = options.records;
  last["workers"] = options.workers;
  last["pairs"] = options.pairs;
  for (const auto& [name, value] : line.items()) {
    if (!last.contains(name)) last[name] = value;
  }
  fmt::print("{}\n", last.dump());
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  try {
    return sluice::bench::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_ingest: {}\n", error.what());
    return 1;
  }
}
