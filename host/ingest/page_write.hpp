// The rows of one page, written in one transaction.
#pragma once

#include <map>
#include <set>
#include <span>
#include <vector>

#include "base/async.hpp"
#include "ingest/change_recorder.hpp"
#include "ingest/checked_page.hpp"
#include "ingest/complete_sets.hpp"
#include "ingest/entity_ids.hpp"
#include "ingest/page.hpp"
#include "ingest/shape.hpp"
#include "ingest/tail.hpp"
#include "ingest/type_strategy.hpp"
#include "ingest/validate.hpp"
#include "pg/fenced.hpp"

namespace sluice::ingest {

/// What the writer keeps from page to page.
struct WriterMemory {
  Shapes shapes;
  TypeStrategies strategies;
  EntityIds ids;
  KnownChildren children;
  WriterStats stats;
};

/// One try to write a page: rows, sets and children, then finish, each once. All but `rounds` and
/// `copies` outlives it. One loop.
class PageWrite {
 public:
  struct Options {
    bool may_copy = true;
    std::int64_t observed = 0;  ///< see observed_order()
    Trust trust = Trust::version;
    const Wishes* wishes = nullptr;
  };
  /// `rounds`: as Batch::rounds() gives them. `copies`: of the first of them, made ahead, by type.
  PageWrite(const PageContext& context, Batch& batch, WriterMemory& memory,
            std::vector<std::vector<std::uint32_t>> rounds,
            std::map<std::uint32_t, CopyPage> copies, const Options& options);

  Task<void> rows(pg::Connection& connection, pg::Fenced& fenced);
  /// What the page's complete sets lack, and the children of all that it deleted.
  Task<void> sets(pg::Fenced& fenced, std::span<const contract::CompleteSet> sets);
  /// The rest of the page, and the COMMIT.
  Task<void> finish(pg::Fenced& fenced, const contract::Page& page, const PageEffects& effects);

  /// Types of which rows were copied, or were to be when it failed.
  [[nodiscard]] const std::set<std::uint32_t>& copied() const { return copied_; }
  [[nodiscard]] const PageCounts& counts() const { return tail_.counts; }
  /// Has the memory learn from it, once it is committed.
  void remember();

 private:
  /// Where a row stands within its round.
  ///   near ──same───────> done; else look
  ///   look ──absent──> insert ──> done    (insert without a look when the type is being loaded)
  ///     │ └─differs──> update or bury ──> done
  ///     └─same───────> done;    not returned by insert, update or bury: look again
  enum class Next { near, look, insert, update, bury, done };
  struct Progress {
    std::uint32_t row = 0;
    Next next = Next::look;
    Found found;
  };
  /// What one step of a pipeline is about.
  struct Step {
    Next what = Next::look;
    std::uint32_t type = 0;
    Presence presence;
    std::vector<std::size_t> members;  ///< indices into the round's progress
  };

  Task<void> copy_new(pg::Connection& connection, pg::Fenced& fenced,
                      std::vector<std::uint32_t>& round);
  Task<bool> copy_type(pg::Connection& connection, pg::Fenced& fenced, std::uint32_t type,
                       const std::vector<std::uint32_t>& rows);
  Task<void> write_round(pg::Fenced& fenced, const std::vector<std::uint32_t>& round);
  [[nodiscard]] std::vector<Progress> begin(const std::vector<std::uint32_t>& round);
  [[nodiscard]] std::vector<Step> plan_steps(const std::vector<Progress>& progress) const;
  [[nodiscard]] static Action action_of(Next next);
  void add_step(pg::Pipeline& pipeline, const Step& step, const std::vector<Progress>& progress);
  void take(const Step& step, const pg::QueryResult& result, std::vector<Progress>& progress);
  void take_near(const Step& step, const pg::QueryResult& result, std::vector<Progress>& progress);
  void take_look(const Step& step, const pg::QueryResult& result, std::vector<Progress>& progress);
  [[nodiscard]] TypeState state_of(std::uint32_t type) const;
  [[nodiscard]] std::vector<Refusal> warnings() const;

  const PageContext& context_;
  Batch& batch_;
  WriterMemory& memory_;
  std::vector<std::vector<std::uint32_t>> rounds_;
  std::map<std::uint32_t, CopyPage> copies_;
  Options options_;
  pg::Pipeline waiting_;  ///< steps that need no answer of their own and travel with the next ones
  Tail tail_;
  ChangeRecorder recorder_;
  CompleteSets sets_;
  std::set<std::uint32_t> copied_;
  std::map<std::uint32_t, TypeOutcome> outcomes_;  ///< by type
  WriterStats stats_;
  std::int64_t deleted_records_ = 0;  ///< among the page's records; a complete set deletes more
};

}  // namespace sluice::ingest
