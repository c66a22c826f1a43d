// What a page's transaction does besides the rows themselves: link keys, changes, notices,
// quarantine, checkpoint, counts. All of it is one pipeline, with the COMMIT behind it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ingest/validate.hpp"
#include "ingest/writer.hpp"
#include "pg/connection.hpp"

namespace sluice::ingest {

extern const pg::Statement kRemoveKeys, kAddKeys, kAddChanges, kRefuse, kForgetAnswered, kForgive,
    kRefetch, kSeen, kReadBeforeMark, kStream, kRun;

/// Keys of the entities of one round. Removing comes first.
struct KeyBatch {
  struct Key {
    std::int16_t kind = 0;
    pg::Uuid digest;
    std::int64_t type = 0;
    std::int16_t attribute = 0;
    std::int64_t entity = 0;
  };
  /// All keys of the entity (attribute -1), or those of one attribute, except the one it has now.
  struct Stale {
    std::int64_t entity = 0;
    std::int16_t attribute = -1;
    std::int16_t kind = 0;
    pg::Uuid digest;
    bool has_key = false;
  };
  std::vector<Stale> stale;
  std::vector<Key> now;
};

struct Change {
  std::int64_t type = 0;
  std::int64_t entity = 0;
  std::string_view op;
  std::string external_id;
  std::string changed;  ///< JSON; empty: null
};

struct Tail {
  std::vector<KeyBatch> keys;
  std::vector<Change> changes;
  PageCounts counts;
};

/// Keys and changes so far; the tail then begins anew, so that a page that changes many rows of
/// which it holds no record (complete sets) keeps only some of them in memory.
void add_rows_so_far(pg::Pipeline& pipeline, const PageContext& context, Tail& tail);

/// Everything up to the COMMIT, which Fenced::commit adds.
void add_tail(pg::Pipeline& pipeline, const PageContext& context, const contract::Page& page,
              const PageEffects& effects, const Batch& batch, const std::vector<Refusal>& warnings,
              Tail& tail);

/// From the answers to a pipeline that ended with add_tail's and the COMMIT:
/// PageCounts::superseded.
[[nodiscard]] bool stream_was_superseded(const PageContext& context,
                                         const std::vector<pg::QueryResult>& results);

}  // namespace sluice::ingest
