// What people decided of links (sluice.link_decision), as a resolver hears it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "model/catalog.hpp"
#include "pg/fenced.hpp"
#include "pg/params.hpp"

namespace sluice::link {

/// A rule, and an entity that it may link.
struct Pair {
  const model::StoredRule* rule = nullptr;
  std::int64_t source = 0;
};

/// What people said of a source under a rule.
struct Said {
  std::optional<std::int64_t> confirmed;  ///< who it is; nobody while that one is deleted
  bool is_confirmed = false;
  bool source_gone = false;
  bool rejected = false;                ///< whoever it is
  std::vector<pg::Uuid> rejected_keys;  ///< that rejected targets have now
};

/// By rule and source.
using SaidOf = std::map<std::pair<std::int64_t, std::int64_t>, Said>;

/// Lives in a resolver's transaction, of a workspace where somebody decided something. Whoever
/// decides waits for that transaction's end, and it for theirs: nobody's word is missed, and none
/// comes in between.
class Listener {
 public:
  Listener(const model::Catalog& catalog, pg::Fenced& fenced)
      : catalog_(catalog), fenced_(fenced) {}

  /// Who is to be looked at because something was decided: of an entity that is one of `ends`, at
  /// whichever end; or of a target that had the key, under the rule beside it. Up to
  /// kDecidedSourcesMax each; the same pair may come twice.
  Task<std::vector<Pair>> concerned(
      std::set<std::int64_t> ends, std::vector<std::pair<const model::StoredRule*, pg::Uuid>> keys);

  /// What was said of the pairs. A confirmed target that was deleted and made again has another id
  /// since: the decision follows it, in this transaction.
  Task<SaidOf> hear(const std::vector<Pair>& pairs);

 private:
  struct Word;
  struct Return;

  Task<std::vector<Word>> read_words(const std::vector<Pair>& pairs);
  Task<void> look_who_lives(std::vector<Word>& words);
  Task<void> follow_returned(std::vector<Word>& words);
  Task<void> keep_made_after(std::vector<Return>& returns);
  Task<void> follow(const Word& word, std::int64_t target);

  const model::Catalog& catalog_;
  pg::Fenced& fenced_;
};

}  // namespace sluice::link
