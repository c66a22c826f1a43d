// Rows that go with others: what a complete set lacks, and the children of what was deleted.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "ingest/change_recorder.hpp"
#include "ingest/page.hpp"
#include "ingest/shape.hpp"
#include "ingest/tail.hpp"
#include "pg/fenced.hpp"

namespace sluice::ingest {

/// Children of a type, by the attribute that holds their parent's id: what complete sets were put
/// out of. `parent` is what the attribute's relationship leads to.
struct ChildKind {
  std::uint32_t type = 0;
  std::uint32_t attribute = 0;
  std::uint32_t parent = 0;
  friend auto operator<=>(const ChildKind&, const ChildKind&) = default;
};

/// What sluice.child_set has already, by workspace and connector: said once a process.
using KnownChildren = std::set<std::tuple<WorkspaceId, std::string, ChildKind>>;

/// A row that another transaction changes between our look and our write is looked at again. Under
/// a lease nobody should; more turns than this mean that somebody does.
inline constexpr int kTurnsMax = 8;
/// Error "ingest.contended", for that; `what`: "rows of a page keep being changed by somebody else
/// while it is written".
[[nodiscard]] Failure contended(std::string what);

/// One for each try to write a page. What it is made with outlives it; `waiting` are steps of the
/// page that need no answer of their own, and travel with the next ones that do. One loop.
class CompleteSets {
 public:
  /// `observed`: see observed_order().
  CompleteSets(const PageContext& context, Batch& batch, Shapes& shapes, const KnownChildren& known,
               std::int64_t observed, ChangeRecorder& recorder, Tail& tail, pg::Pipeline& waiting)
      : context_(context),
        batch_(batch),
        shapes_(shapes),
        known_(known),
        observed_(observed),
        recorder_(recorder),
        tail_(tail),
        waiting_(waiting) {}

  /// Deletes what the sets lack, unless it is newer than they are.
  Task<void> delete_missing(pg::Fenced& fenced, std::span<const contract::CompleteSet> sets);
  /// Deletes the children of what this page deleted, theirs too.
  Task<void> delete_children(pg::Fenced& fenced, std::span<const contract::CompleteSet> sets);
  /// Adds what the sets are the first to tell of to sluice.child_set.
  void add_new_children();
  [[nodiscard]] const std::vector<ChildKind>& new_children() const { return new_children_; }

 private:
  /// A look for rows of one type that are to be marked as deleted, kMissingRowsPerLook at most.
  struct Look {
    std::uint32_t type = 0;
    std::string sql;
    pg::Params params;
  };
  struct Lost {
    std::map<std::pair<std::uint32_t, std::string>, Found> found;  ///< by type and external id
    bool more = false;                                             ///< there may be
  };
  [[nodiscard]] std::vector<Look> missing_of(std::span<const contract::CompleteSet> sets) const;
  [[nodiscard]] std::vector<Look> children_of(const DeletedIds& parents,
                                              const std::vector<ChildKind>& kinds);
  Task<Lost> look_for(pg::Fenced& fenced, std::vector<Look> looks);
  Task<bool> delete_found(pg::Fenced& fenced, const Lost& lost);
  Task<void> delete_all(pg::Fenced& fenced, const std::function<std::vector<Look>()>& looks);
  Task<std::vector<ChildKind>> child_kinds(pg::Fenced& fenced,
                                           std::span<const contract::CompleteSet> sets);

  const PageContext& context_;
  Batch& batch_;
  Shapes& shapes_;
  const KnownChildren& known_;
  std::int64_t observed_;
  ChangeRecorder& recorder_;
  Tail& tail_;
  pg::Pipeline& waiting_;
  std::vector<ChildKind> new_children_;
};

}  // namespace sluice::ingest
