// What an empty database gets: its first workspace, and a token for whoever started us. And how
// that token is replaced when it is lost.
#pragma once

#include <optional>
#include <string>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "pg/connection.hpp"
#include "pg/pool.hpp"
#include "wiring/config.hpp"

namespace sluice {

/// One host at a time decides what an empty database gets.
inline constexpr std::string_view kOneBegins =
    "select 1 from sluice.mutex where name = 'begin' for update";

struct Workspace {
  WorkspaceId id;
  std::string name;
};

/// The oldest workspace; the first start makes it.
Task<Workspace> first_workspace(pg::Transaction& transaction, const wiring::Config& config);

/// What is printed of a new token: itself on a terminal; elsewhere, where what is printed may be
/// kept for ever and read by many, the file that holds it, <data>/operator.token with mode 0600.
struct ShownToken {
  std::string text;
  std::string file;  ///< empty: it was shown itself
};

/// An operator token for whoever started us, when the database has none yet. The file is there
/// before the commit: a host that dies between the two makes another token and another file.
Task<std::optional<ShownToken>> first_token(pg::Pool& pool, const wiring::Config& config);

/// For whoever reads what the first start printed: what to type next, where the data lies, and
/// what to keep a copy of. `url`: where the host listens; `token`: what was said of it.
[[nodiscard]] std::string what_comes_next(const wiring::Config& config, const std::string& url,
                                          const ShownToken& token);

/// For who has lost it (`sluiced --reset-operator-token`): makes a new operator token, revokes
/// the one of the first start and those that this made before, and prints the new one as above.
/// Works beside a host that runs and without one; whoever may work as the data directory's owner
/// may do it. Throws Failure.
int reset_operator_token(const wiring::Config& config);

}  // namespace sluice
