// What a page's transaction does besides the rows themselves: link keys, notices, quarantine,
// checkpoint, counts, the check of the catalogue, and last the changes. All of it is one pipeline,
// with the COMMIT behind it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/page.hpp"
#include "ingest/validate.hpp"
#include "journal/append.hpp"
#include "pg/connection.hpp"

namespace sluice::ingest {

extern const pg::Statement kRemoveKeys, kAddKeys, kRefuse, kForgetAnswered, kForgive, kForgiveRead,
    kRefetch, kSeen, kReadBeforeMark, kStream, kRun, kFoundGone;

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

struct Tail {
  std::vector<KeyBatch> keys;
  journal::Changes changes;  ///< told at the end; put aside until then where they are many
  bool some_aside = false;
  std::size_t stream_step = 0;  ///< which step of the pipeline is the stream's
  PageCounts counts;
  std::map<std::int64_t, std::int64_t> found_gone;  ///< by run that had them asked about
};

/// Keys so far; the tail's then begin anew.
void add_keys_so_far(pg::Pipeline& pipeline, const PageContext& context, Tail& tail);
/// Keys and changes so far, so that a page that changes many rows of which it holds no record
/// (complete sets) keeps only some of them in memory. The changes are put aside, not told: the
/// feed's head is locked last.
void add_rows_so_far(pg::Pipeline& pipeline, const PageContext& context, Tail& tail);

/// Everything up to the COMMIT, which Fenced::commit adds.
void add_tail(pg::Pipeline& pipeline, const PageContext& context, const contract::Page& page,
              const PageEffects& effects, const Batch& batch, const std::vector<Refusal>& warnings,
              Tail& tail);

/// From the answers to a pipeline that ended with add_tail's and the COMMIT:
/// PageCounts::superseded.
[[nodiscard]] bool stream_was_superseded(const PageContext& context, const Tail& tail,
                                         const std::vector<pg::QueryResult>& results);

}  // namespace sluice::ingest
