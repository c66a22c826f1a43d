// What the order of the feed costs small writes: many writers of one row each, all in one
// workspace, in a private PostgreSQL, beside the same ones without that order.
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/parts/figures.hpp"
#include "bench/parts/world.hpp"
#include "model/gathered_writes.hpp"
#include "model/own_types.hpp"
#include "pg/pool.hpp"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr WorkspaceId kWorkspace(1);

/// How the rows are written.
enum class Side {
  gathered,  ///< as the host does it
  each,      ///< each in a transaction of its own, in the feed's order
  floor,     ///< the same, but nobody waits for the head: no order, as before there was one
};

struct Plan {
  int writers = 16;
  double seconds = 5;
  int pairs = 3;
};

// Positions from a sequence: what is left out is the lock, and the look for the last one.
constexpr std::string_view kNoOrder = R"(
  create sequence sluice.bench_position;
  create or replace function sluice.append_changes(w bigint, connection bigint, run bigint,
      types bigint[], entities bigint[], ops text[], ids text[], changes jsonb[],
      vendor_times timestamptz[] default null) returns bigint
  language plpgsql volatile set search_path = '' as $$
  begin
    insert into sluice.change (workspace_id, position, at, connection_id, run_id, type_id, entity_id,
                               op, external_id, changed)
    select w, nextval('sluice.bench_position'), clock_timestamp(), connection, run, i.t, i.e, i.o,
           coalesce(i.x, ''), i.c
    from unnest(types, entities, ops, ids, changes) as i(t, e, o, x, c);
    return 0;
  end $$;)";

Task<model::CatalogPtr> prepare(pg::Pool& pool, Side side) {
  const auto connection = co_await pool.acquire();
  if (side == Side::floor) co_await connection->script(std::string(kNoOrder));
  auto transaction = co_await pg::Transaction::begin(*connection);
  const auto request = nlohmann::json::parse(R"({"name":"customer","attributes":[
      {"name":"email","type":"text","format":"email","unique":true},{"name":"plan","type":"text"}]})");
  auto type = model::own_type_from_json(request);
  co_await model::create_own_type(transaction, kWorkspace, std::move(*type));
  co_await transaction.commit();
  co_return co_await model::load_catalog(*connection, kWorkspace);
}

struct Count {
  std::int64_t written = 0;
  std::vector<double> seconds;
};

Task<void> write_alone(pg::Pool& pool, model::CatalogPtr catalog, model::OwnItem item) {
  const auto connection = co_await pool.acquire();
  std::vector<model::OwnItem> items(1, item);
  co_await model::write_own(*connection, catalog->workspace, std::move(items), RunId());
}

Task<void> write_until(Side side, pg::Pool& pool, model::GatheredWrites& gathered,
                       model::CatalogPtr catalog, int writer, Clock::time_point end, Count& count) {
  for (std::int64_t n = 0; Clock::now() < end; ++n) {
    model::OwnItem item;
    item.type = catalog->find("customer");
    item.row.values["email"] = fmt::format("w{}n{}@example.org", writer, n);
    item.row.values["plan"] = "team";
    const auto begun = Clock::now();
    if (side == Side::gathered) {
      co_await gathered.write(catalog, std::move(item));
    } else {
      co_await write_alone(pool, catalog, std::move(item));
    }
    count.seconds.push_back(Seconds(Clock::now() - begun).count());
    ++count.written;
  }
}

struct Figures {
  double per_s = 0;
  double p50_ms = 0;
};

Figures measure(World& world, Side side, int writers, double seconds) {
  asio::io_context loop;
  pg::PoolOptions options;
  options.connect.conninfo = world.make_database("writes");
  options.size_max = static_cast<std::size_t>(writers);
  Count count;
  {
    pg::Pool pool(loop.get_executor(), options);
    model::GatheredWrites gathered(pool);
    const model::CatalogPtr catalog = run_until_done(loop, prepare(pool, side));
    world.checkpoint();
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
    std::vector<std::future<void>> all;
    for (int writer = 0; writer < writers; ++writer) {
      all.push_back(asio::co_spawn(
          loop, write_until(side, pool, gathered, catalog, writer, end, count), asio::use_future));
    }
    loop.restart();
    loop.run();
    for (auto& one : all) one.get();
    pool.close();
  }
  const std::string stored =
      world.ask(options.connect.conninfo, "select count(*)::text from sluice.change");
  if (std::stoll(stored) != count.written)
    throw std::runtime_error("not everything is in the feed");
  world.drop_database("writes");
  std::sort(count.seconds.begin(), count.seconds.end());
  Figures figures;
  figures.per_s = static_cast<double>(count.written) / seconds;
  figures.p50_ms = count.seconds.empty() ? 0 : count.seconds[count.seconds.size() / 2] * 1e3;
  return figures;
}

void compare(World& world, const Plan& plan, int writers, nlohmann::json& line) {
  std::vector<double> gathered, each, lone_ms;
  for (int pair = 0; pair < plan.pairs; ++pair) {
    const Figures floor = measure(world, Side::floor, writers, plan.seconds);
    const Figures as_host = measure(world, Side::gathered, writers, plan.seconds);
    const Figures alone = measure(world, Side::each, writers, plan.seconds);
    gathered.push_back(as_host.per_s / floor.per_s);
    each.push_back(alone.per_s / floor.per_s);
    fmt::print(
        "{} writers: {:.0f}/s without order; gathered {:.0f}/s ({:.2f}); each {:.0f}/s ({:.2f}); "
        "p50 {:.2f}, {:.2f}, {:.2f} ms\n",
        writers, floor.per_s, as_host.per_s, gathered.back(), alone.per_s, each.back(),
        floor.p50_ms, as_host.p50_ms, alone.p50_ms);
  }
  line[fmt::format("gathered_over_floor_{}", writers)] = median(gathered);
  line[fmt::format("each_over_floor_{}", writers)] = median(each);
}

int main_of(const Plan& plan) {
  World world((WorldOptions()));
  nlohmann::json line;
  line["bench"] = "writes";
  for (const int writers : {1, plan.writers}) compare(world, plan, writers, line);
  fmt::print("{}\n", line.dump());
  return 0;
}

}  // namespace
}  // namespace sluice::bench

/// bench_writes [WRITERS [SECONDS [PAIRS]]]
int main(int argc, char** argv) {
  sluice::bench::Plan plan;
  if (argc > 1) plan.writers = std::atoi(argv[1]);
  if (argc > 2) plan.seconds = std::atof(argv[2]);
  if (argc > 3) plan.pairs = std::atoi(argv[3]);
  return sluice::bench::main_of(plan);
}
