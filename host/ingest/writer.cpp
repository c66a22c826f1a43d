#include "ingest/writer.hpp"

#include <exception>
#include <optional>
#include <set>
#include <utility>

#include "base/failpoint.hpp"
#include "ingest/checked_page.hpp"
#include "ingest/page_write.hpp"
#include "ingest/refused_values.hpp"
#include "journal/append.hpp"
#include "model/catalog_version.hpp"
#include "pg/fenced.hpp"

namespace sluice::ingest {
namespace {

/// A row is there already (23505), or this role may not COPY into the table (42501, 0A000 under
/// row-level security): its rows are inserted from now on.
bool is_copy_no_more(const pg::QueryError& error) {
  const std::string_view state = error.sqlstate();
  return state == "23505" || state == "42501" || state == "0A000";
}

pg::LeaseProof proof_of(const PageContext& context) {
  pg::LeaseProof proof;
  proof.workspace = context.workspace;
  proof.name = context.lease_name;
  proof.epoch = context.epoch;
  return proof;
}

}  // namespace

PageCounts& PageCounts::operator+=(const PageCounts& other) {
  records += other.records;
  inserted += other.inserted;
  updated += other.updated;
  unchanged += other.unchanged;
  older += other.older;
  deleted += other.deleted;
  quarantined += other.quarantined;
  notices += other.notices;
  return *this;
}

/// How a page is written this time.
///   whole ──a copied row is there already, or COPY is refused──> inserted
///   whole (nothing was copied), inserted ──a value is refused──> without_refused
enum class Attempt {
  whole,            ///< new rows of types that are being loaded are copied
  inserted,         ///< nothing is copied
  without_refused,  ///< nor are the records there whose values PostgreSQL refuses
};

struct Writer::State {
  explicit State(pg::Pool& pool_used) : pool(pool_used) {}
  pg::Pool& pool;
  WriterMemory memory;

  Task<void> meet_types(pg::Connection& connection, const PageContext& context, const Batch& batch);
  /// What comes after an attempt that the database refused; nothing: no other would do better.
  std::optional<Attempt> next(Attempt attempt, const pg::QueryError& error,
                              const PageContext& context, const Batch& batch,
                              const PageWrite& work);
  /// Takes the records out of the batch whose values PostgreSQL refuses. False: there are none.
  Task<bool> take_out_refused(const PageContext& context, Batch& batch);
};

/// Decides how the page's types are written that have not been met before.
Task<void> Writer::State::meet_types(pg::Connection& connection, const PageContext& context,
                                     const Batch& batch) {
  std::set<std::uint32_t> unknown;
  for (const Row& row : batch.rows) {
    if (unknown.contains(row.type)) continue;
    if (!memory.strategies.knows(context.connection, batch.plan(row.type).stored->id))
      unknown.insert(row.type);
  }
  if (unknown.empty()) co_return;
  pg::Pipeline looks;
  for (const std::uint32_t type : unknown) {
    pg::Params params(context.workspace, context.connection);
    memory.shapes.add(looks, any_row_sql(batch.plan(type)), std::move(params));
  }
  const std::vector<pg::QueryResult> answers = co_await connection.run(std::move(looks));
  std::size_t at = 0;
  for (const std::uint32_t type : unknown) {
    const bool has_rows = answers.at(at++).get<bool>(0, 0);
    memory.strategies.met(context.connection, batch.plan(type).stored->id, has_rows);
  }
}

std::optional<Attempt> Writer::State::next(Attempt attempt, const pg::QueryError& error,
                                           const PageContext& context, const Batch& batch,
                                           const PageWrite& work) {
  const bool value = is_refused_value(error);
  if (!work.copied().empty() && (value || is_copy_no_more(error))) {
    for (const std::uint32_t type : work.copied()) {
      if (!value) memory.strategies.stop_copying(context.connection, batch.plan(type).stored->id);
    }
    return Attempt::inserted;
  }
  if (value && attempt != Attempt::without_refused) return Attempt::without_refused;
  return std::nullopt;
}

Task<bool> Writer::State::take_out_refused(const PageContext& context, Batch& batch) {
  pg::Pool::Lease connection = co_await pool.acquire();
  pg::Fenced trial(*connection, proof_of(context));
  const auto refused = co_await find_refused(trial, context, batch);
  for (const auto& [row, reason] : refused) batch.refuse(row, "value.refused", reason);
  co_return !refused.empty();
}

Writer::Writer(pg::Pool& pool) : state_(std::make_unique<State>(pool)) {}
Writer::~Writer() = default;

const WriterStats& Writer::stats() const { return state_->memory.stats; }

PageCheck Writer::check(const PageContext& context) const {
  PageCheck check;
  check.manifest = context.manifest;
  check.catalog = context.catalog;
  check.workspace = context.workspace;
  check.connection = context.connection;
  check.copied = state_->memory.strategies.copied(context.connection);
  return check;
}

Task<PageCounts> Writer::write(const PageContext& context, const contract::Page& page,
                               PageEffects effects) {
  std::shared_ptr<CheckedPage> checked = std::move(effects.checked);
  if (checked == nullptr || !checked->serves(context))
    checked = std::make_shared<CheckedPage>(*context.manifest, context.catalog, page);
  checked->used = true;
  Batch& batch = checked->batch;
  PageWrite::Options options;
  options.observed = observed_order(context.epoch, effects.observed_version);
  options.trust = effects.trust_vendor ? Trust::vendor : Trust::version;
  options.wishes = effects.wishes;
  auto rounds = checked->rounds;
  auto copies = std::move(checked->copies);
  for (Attempt attempt = Attempt::whole;;) {
    std::exception_ptr refused;
    {
      pg::Pool::Lease connection = co_await state_->pool.acquire();
      co_await state_->meet_types(*connection, context, batch);
      options.may_copy = attempt == Attempt::whole;
      PageWrite work(context, batch, state_->memory, std::move(rounds), std::move(copies), options);
      pg::Fenced fenced(*connection, proof_of(context));
      try {
        co_await work.rows(*connection, fenced);
        co_await work.sets(fenced, page.sets);
      } catch (const pg::QueryError& error) {
        const auto next = state_->next(attempt, error, context, batch, work);
        if (!next) throw;
        attempt = *next;
        refused = std::current_exception();
      }
      if (!refused) {
        SLUICE_FAILPOINT("ingest.after_upsert");
        try {
          Task<void> telling = work.finish(fenced, page, effects);
          co_await journal::or_feed_busy(*connection, context.workspace, std::move(telling));
        } catch (const pg::QueryError& error) {
          if (error.sqlstate() == model::kCatalogChangedState)
            throw model::catalog_changed(*context.catalog);
          throw;
        }
        SLUICE_FAILPOINT("ingest.after_commit");
        work.remember();
        co_return work.counts();
      }
    }  // the pool rolls back what was begun
    if (attempt == Attempt::without_refused) {
      const bool taken = co_await state_->take_out_refused(context, batch);
      if (!taken) std::rethrow_exception(refused);
    }
    rounds = batch.rounds();  // some rows may be out
    copies.clear();
  }
}

}  // namespace sluice::ingest
