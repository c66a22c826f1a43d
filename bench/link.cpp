// How fast keys become links: one connection, a private PostgreSQL without statistics (as right
// after a first load), half of the keys on either side.
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
#include "link/resolver.hpp"
#include "pg/pool.hpp"

namespace sluice::bench {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::int64_t kSourceType = 1'001, kTargetType = 1'002;
/// Ids of targets begin here; sources are 1, 2, 3 …
constexpr std::int64_t kFirstTarget = 1'000'000'000;

model::CatalogPtr catalog() {
  auto made = std::make_shared<model::Catalog>();
  made->workspace = WorkspaceId(1);
  model::StoredRule rule;
  rule.id = RuleId(1);
  rule.name = "by_email";
  rule.source_type = EntityTypeId(kSourceType);
  rule.source_attribute = rule.target_attribute = "email";
  rule.source_position = rule.target_position = 0;
  rule.target_type = EntityTypeId(kTargetType);
  rule.key_kind = contract::KeyKind::email;
  made->rules.push_back(rule);
  return made;
}

/// `entities` keys of one type, each with a digest that looks random and is the other side's too,
/// and the queue rows that ingest writes with them.
std::string load_sql(std::int64_t type, std::int64_t first, std::int64_t entities, bool queued) {
  const std::string keys = fmt::format(
      "insert into sluice.link_key (workspace_id, kind, digest, type_id, attribute, entity_id) "
      "select 1, 1, md5(n::text)::uuid, {}, 0, {} + n from generate_series(1, {}) n",
      type, first, entities);
  if (!queued) return keys;
  return fmt::format(
      "with added as ({} returning *) insert into sluice.link_queue (workspace_id, kind, digest, "
      "type_id, attribute, entity_id) select workspace_id, kind, digest, type_id, attribute, "
      "entity_id from added",
      keys);
}

struct Drain {
  link::ResolveCounts counts;
  std::vector<double> rounds;  ///< seconds each
  [[nodiscard]] double seconds() const {
    double all = 0;
    for (const double round : rounds) all += round;
    return all;
  }
};

Task<void> script(pg::Pool& pool, std::string sql) {
  const auto connection = co_await pool.acquire();
  connection->set_query_timeout(std::chrono::minutes(30));
  co_await connection->script(std::move(sql));
}

Task<Drain> drain(pg::Pool& pool) {
  link::Resolver resolver(pool);
  const model::CatalogPtr known = catalog();
  pg::LeaseProof lease;
  lease.workspace = WorkspaceId(1);
  lease.name = "link";
  lease.epoch = Epoch(1);
  Drain out;
  for (;;) {
    const auto began = std::chrono::steady_clock::now();
    const link::ResolveCounts counts = co_await resolver.run_once(known, lease);
    if (counts.queue_rows == 0) co_return out;
    out.rounds.push_back(Seconds(std::chrono::steady_clock::now() - began).count());
    out.counts += counts;
  }
}

/// A fresh database with `existing` keys of each side that are linked to nothing yet and not in the
/// queue, and `queued` sources, in the queue, whose targets are among them.
Drain measure(World& world, const std::string& name, std::int64_t targets, std::int64_t sources,
              bool targets_queued) {
  asio::io_context loop;
  pg::PoolOptions options;
  options.connect.conninfo = world.make_database(name);
  options.connect.query_timeout = std::chrono::minutes(10);
  options.size_max = 1;
  Drain out;
  {
    pg::Pool pool(loop.get_executor(), options);
    run_until_done(
        loop, script(pool,
                     "insert into sluice.link_rule (workspace_id, name, source_type, "
                     "source_attribute, target_type, target_attribute, key_kind, origin) values "
                     "(1, 'by_email', 's', 'email', 't', 'email', 1, 'admin');"
                     "insert into sluice.lease_epoch values (1, 'link', 1);"
                     "update sluice.catalog_version set version = 0"));
    run_until_done(loop,
                   script(pool, load_sql(kTargetType, kFirstTarget, targets, targets_queued)));
    run_until_done(loop, script(pool, load_sql(kSourceType, 0, sources, true)));
    world.checkpoint();
    out = run_until_done(loop, drain(pool));
    pool.close();
  }
  world.drop_database(name);
  return out;
}

int main_of(std::int64_t keys, std::int64_t first_load) {
  World world((WorldOptions()));
  const Drain many = measure(world, "link_many", keys / 2, keys / 2, false);
  const auto first_rounds =
      static_cast<std::ptrdiff_t>(std::max<std::size_t>(1, many.rounds.size() / 10));
  const double early = median({many.rounds.begin(), many.rounds.begin() + first_rounds});
  const double late = median({many.rounds.end() - first_rounds, many.rounds.end()});
  fmt::print(
      "{} keys: {} pairs in {:.2f} s, {} rounds; a round took {:.1f} ms at first, {:.1f} ms at "
      "last\n",
      keys, many.counts.pairs, many.seconds(), many.rounds.size(), early * 1e3, late * 1e3);
  const Drain load = measure(world, "link_load", first_load, first_load, true);
  fmt::print(
      "first load of {} entities on each side: {} queue rows drained in {:.2f} s, {} linked\n",
      first_load, load.counts.queue_rows, load.seconds(), load.counts.linked);
  nlohmann::json line;
  line["bench"] = "link";
  line["keys"] = keys;
  line["pairs_per_s"] =
      static_cast<std::int64_t>(static_cast<double>(many.counts.pairs) / many.seconds());
  line["round_late_over_early"] = late / early;
  line["first_load_entities"] = first_load;
  line["first_load_drain_s"] = load.seconds();
  line["first_load_rows_per_s"] =
      static_cast<std::int64_t>(static_cast<double>(load.counts.queue_rows) / load.seconds());
  fmt::print("{}\n", line.dump());
  const bool complete = many.counts.linked == keys / 2 && load.counts.linked == first_load;
  if (!complete) fmt::print(stderr, "not everything was linked\n");
  return complete ? 0 : 1;
}

}  // namespace
}  // namespace sluice::bench

/// bench_link [KEYS [FIRST_LOAD]]
int main(int argc, char** argv) {
  const std::int64_t keys = argc > 1 ? std::atoll(argv[1]) : 1'000'000;
  const std::int64_t first_load = argc > 2 ? std::atoll(argv[2]) : 100'000;
  return sluice::bench::main_of(keys, first_load);
}
