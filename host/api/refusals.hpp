// What is done about tokens that are refused: who tries too many waits, and it is told.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/tokens.hpp"
#include "base/async.hpp"
#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "pg/pool.hpp"

namespace sluice::api {

struct RefusalLimits {
  /// Wrong tokens of one peer in a minute that cost it nothing.
  std::int64_t free_a_minute = 20;
  /// Beyond that its tokens are looked up one after the other, with this pause between two ...
  std::chrono::milliseconds pause{20};
  /// ... and so many may wait for that; further ones are turned away unread.
  std::size_t waiting_max = 50;
  /// Refusals of one token in a minute that get a line of the audit each; the rest are one line.
  std::int64_t lines_a_minute = 20;
  std::size_t peers_max = 10'000;  ///< further ones share one entry, in the same minute
  std::size_t known_max = 10'000;
};

/// One a host, in memory; owned by Api. One loop.
///
///   admit()            before the database is asked about a token
///   accepted(), wrong()  what it said
///   refused()          a token that is valid asked for what it may not
///   write()            now and then: lines of the audit, and when tokens were last used
///
/// A token that was accepted within the last ten minutes never waits, so that whoever floods this
/// host with wrong ones, also from the same address, keeps nobody else out. That is all it decides:
/// each token is looked up each time, and one that is revoked is refused at once.
class Refusals {
 public:
  static constexpr std::chrono::minutes kKnownFor{10};

  Refusals(const Clock& clock, RefusalLimits limits) : clock_(clock), limits_(limits) {}

  /// Waits for its turn where the peer has sent too many wrong ones. Error: token.too_many
  /// (retry_later): nothing was looked up.
  Task<Result<void>> admit(std::string authorization, std::string peer);
  /// Of a token that was accepted within the last ten minutes; nobody's for any other.
  [[nodiscard]] WorkspaceId workspace_of(std::string_view authorization) const;
  void accepted(std::string_view authorization, const Principal& principal);
  void wrong(const std::string& peer);
  /// `what`: "POST /v1/workspaces/{workspace}/types".
  void refused(const Principal& principal, std::string what, std::string code);

  /// Writes what has come together since the last time: a line of the first workspace's audit for
  /// each peer and minute ("token.wrong"), lines of a token's workspace ("request.refused"), and
  /// last_used_at of each token, to the minute. Throws pg::QueryError; what was not written is
  /// written the next time.
  Task<void> write(pg::Pool& pool);

  [[nodiscard]] std::int64_t wrong_total() const { return wrong_total_; }
  [[nodiscard]] std::int64_t turned_away_total() const { return turned_away_total_; }

 private:
  using Minute = std::int64_t;                            ///< since the epoch
  using TokenId = std::pair<std::int64_t, std::int64_t>;  ///< workspace, token

  struct OfPeer {
    std::int64_t wrong = 0;
    std::int64_t written = 0;
    std::int64_t line = 0;  ///< its id in the audit; 0: none yet
  };
  struct Known {
    WorkspaceId workspace;
    std::chrono::steady_clock::time_point accepted;
  };
  struct Refused {
    WorkspaceId workspace;
    std::string actor, what, code;
    std::int64_t times = 1;
  };

  [[nodiscard]] Minute minute() const;
  /// Where a peer is counted: by its own name, or among the others.
  [[nodiscard]] std::pair<Minute, std::string> entry_of(const std::string& peer) const;
  [[nodiscard]] std::int64_t wrong_of(const std::string& peer) const;  ///< in this minute
  Task<void> write_wrong(pg::Pool& pool);
  Task<void> write_refused(pg::Pool& pool);
  Task<void> write_used(pg::Pool& pool);

  const Clock& clock_;
  const RefusalLimits limits_;
  std::map<std::pair<Minute, std::string>, OfPeer> peers_;
  std::map<Bytes, Known> known_;  ///< by token_hash()
  std::chrono::steady_clock::time_point next_turn_{};
  std::size_t waiting_ = 0;
  std::vector<Refused> lines_;
  std::map<TokenId, std::pair<Minute, std::int64_t>> refused_;
  std::set<TokenId> used_;
  std::map<TokenId, Minute> used_written_;
  std::int64_t wrong_total_ = 0, turned_away_total_ = 0;
};

}  // namespace sluice::api
