// An own type goes: what would go with it, and the operation and the durable work that take it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "pg/pool.hpp"
#include "sync/audit.hpp"
#include "work/queue.hpp"
#include "work/runner.hpp"

namespace sluice::sync {

/// A type's entities, with keys and unique values, go, each told in the feed as a deletion with
/// what it held; before them the links of rules that name the type, and what people decided of
/// those.
///
///   active --drop_type--> dropping --this work--> dropped --made again--> active
///                                                                         (another created_at)
///
/// The last batch waits, for two seconds at a time, until nobody writes entities of the type who
/// began before it was dropped; what they left goes, too. Subject: the type's name; task: {"type"},
/// its id.
inline constexpr const char* kDropType = "type.drop";

/// A link rule that begins or ends at a type.
struct RuleOfType {
  std::string name;
  /// An admin's goes with the type: it would come to life by itself at whatever is called so later.
  /// A connector's stays and stands idle, as before there was such a type.
  bool goes = false;
  std::int64_t links = 0;      ///< linked and confirmed ones, of the first kLinksCounted
  std::int64_t decisions = 0;  ///< of people, at most kLinksCounted
  bool exact = true;           ///< it has no more than were counted
};
inline constexpr std::int64_t kLinksCounted = 100'000;

/// By name.
Task<std::vector<RuleOfType>> rules_of_type(pg::Connection& connection, WorkspaceId workspace,
                                            std::string type);

struct TypeDrop {
  work::WorkId work;               ///< that takes what is there
  std::vector<std::string> rules;  ///< those that go
};

/// From its commit on the type is in no catalogue, nobody can write entities of it, and its rules
/// find nothing. Errors: type.not_found, type.read_only, type.being_dropped. The connection must
/// not be inside a transaction.
Task<Result<TypeDrop>> drop_type(pg::Connection& connection, WorkspaceId workspace,
                                 std::string name, Actor actor);

[[nodiscard]] std::unique_ptr<work::Kind> drop_type_kind();

}  // namespace sluice::sync
