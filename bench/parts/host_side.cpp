#include "bench/parts/host_side.hpp"

#include <fmt/format.h>
#include <malloc.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <vector>

#include "base/task_group.hpp"
#include "bench/parts/child.hpp"
#include "bench/parts/tape.hpp"
#include "connector/registry.hpp"
#include "model/catalog.hpp"
#include "sync/run.hpp"

namespace sluice::bench {
namespace {

using nlohmann::json;

class OneKey final : public fetch::CredentialSource {
 public:
  Task<Result<fetch::Credential>> credential(fetch::SecretUse, fetch::CredentialVersion) override {
    co_return fetch::Credential("sk_bench_0123456789");
  }
};

/// What all workers share, and what they came to.
struct Host {
  Host(Executor executor, pg::PoolOptions options)
      : pool(executor, std::move(options)),
        client(executor, fetch::ClientOptions{}, clock, entropy, delay),
        writer(pool) {}
  SystemClock clock;
  SystemEntropy entropy;
  fetch::TimerDelay delay;
  pg::Pool pool;
  fetch::Client client;
  ingest::Writer writer;
  sync::StepPool steps;
  sync::PageBudget pages;
  OneKey key;
  std::shared_ptr<const connector::ConnectorCode> code;
  model::CatalogPtr catalog;
  json arguments;
  std::int64_t pages_stored = 0;
  std::int64_t pages_all = 0;
  ingest::PageCounts counts;
  json rss = json::array();
};

class Sink final : public sync::PageSink {
 public:
  Sink(Host& host, int worker) : host_(host) {
    context_.workspace = WorkspaceId(1);
    context_.connection = ConnectionId(worker);
    context_.run = RunId(worker);
    context_.stream = "items";
    context_.lease_name = fmt::format("connection/{}", worker);
    context_.epoch = Epoch(1);
    context_.manifest = &host.code->manifest();
    context_.catalog = host.catalog;
    enumeration_ = host.arguments.at("enumeration");
  }

  [[nodiscard]] ingest::PageCheck check() const override { return host_.writer.check(context_); }

  Task<ingest::PageCounts> store(const contract::Page& page, ingest::PageEffects effects,
                                 bool last) override {
    effects.snapshot_done = last;
    effects.enumeration = enumeration_;
    const ingest::PageCounts counts =
        co_await host_.writer.write(context_, page, std::move(effects));
    host_.counts += counts;
    ++host_.pages_stored;
    if (host_.pages_stored * 4 / host_.pages_all > static_cast<std::int64_t>(host_.rss.size()))
      host_.rss.push_back(rss_mb());
    co_return counts;
  }

 private:
  Host& host_;
  ingest::PageContext context_;
  std::int64_t enumeration_ = 0;
};

Task<void> work(Host& host, int worker) {
  const json& arguments = host.arguments;
  json config = json::object();
  config["set"] = arguments.at("set").get<std::int64_t>() + worker;
  config["pages"] = arguments.at("pages");
  contract::SessionArgs args;
  args.operation = contract::Operation::read;
  args.config_json = config.dump();
  args.stream = "items";
  std::shared_ptr<connector::Session> session = expect(host.code->open(args));
  fetch::EgressAllowance allowance;
  allowance.base_urls["api"] = fmt::format("http://127.0.0.1:{}", arguments.at("port").get<int>());
  allowance.addresses.loopback = true;
  fetch::BudgetOptions unpaced;
  unpaced.requests_per_second = 0;
  fetch::Budget budget(unpaced, host.clock, host.delay);
  fetch::FetchStats stats;
  const contract::Manifest& manifest = host.code->manifest();
  const fetch::SendContext send{manifest.hosts, manifest.auth, config, allowance,
                                host.key,       budget,        stats};
  Sink sink(host, worker);
  sync::SessionRun run{.session = std::move(session),
                       .client = host.client,
                       .send = send,
                       .sink = &sink,
                       .clock = host.clock,
                       .entropy = host.entropy,
                       .checkpoint_format = 1,
                       .stopping = {},
                       .steps = &host.steps,
                       .pages = &host.pages};
  const sync::SessionEnd end = co_await sync::run_session(std::move(run));
  if (!end.done()) throw std::runtime_error("a session failed: " + end.failure->message);
}

/// Connections are opened, and the catalogue read, before the clock runs.
Task<void> warm_up(Host& host, int workers) {
  std::vector<pg::Pool::Lease> leases;
  for (int i = 0; i < workers; ++i) {
    leases.push_back(co_await host.pool.acquire());
    co_await pg::disown_held();  // nobody else is there yet
  }
  host.catalog = co_await model::load_catalog(*leases.front(), WorkspaceId(1));
}

Task<double> measure(Host& host, int workers) {
  co_await warm_up(host, workers);
  mark_tapes();
  const auto begun = host.clock.steady();
  TaskGroup group(host.pool.executor());
  for (int worker = 1; worker <= workers; ++worker) group.spawn(work(host, worker));
  co_await group.wait();
  co_return std::chrono::duration<double>(host.clock.steady() - begun).count();
}

}  // namespace

json run_host(const json& arguments) {
  ::mallopt(M_MMAP_THRESHOLD, 64 << 20);  // as host/main.cpp
  ::mallopt(M_TRIM_THRESHOLD, 128 << 20);
  const int workers = arguments.at("workers");
  if (!arguments.at("tapes").empty()) record_tapes(arguments.at("tapes").get<std::vector<int>>());
  asio::io_context loop{1};
  pg::PoolOptions options;
  options.connect.conninfo = arguments.at("conninfo");
  options.size_max = static_cast<std::size_t>(workers);
  Host host(loop.get_executor(), options);
  host.arguments = arguments;
  host.pages_all = arguments.at("pages").get<std::int64_t>() * workers;
  connector::Registry registry(
      connector::Store(std::filesystem::path(arguments.at("directory").get<std::string>())));
  host.code = expect(registry.load_file(SLUICE_BENCH_CONNECTOR));
  const double cpu_before = cpu_seconds();
  auto future = asio::co_spawn(loop, measure(host, workers), asio::use_future);
  loop.run();
  json result = json::object();
  result["seconds"] = future.get();
  finish_tapes();
  result["cpu_s"] = cpu_seconds() - cpu_before;
  result["records"] = host.counts.records;
  result["inserted"] = host.counts.inserted;
  result["unchanged"] = host.counts.unchanged;
  result["peak_rss_mb"] = peak_rss_mb();
  result["rss_mb"] = host.rss;
  result["page_bytes_peak"] = host.pages.stats().bytes_peak;
  host.pool.close();
  return result;
}

}  // namespace sluice::bench
