// What is done about tokens that are refused: who tries too many waits, and it is told.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
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
  /// Beyond that its tokens are compared with what the database has of them, of so many tokens by
  /// one statement, with this pause between two statements; so many statements may be due ...
  std::size_t compared_together = 1000;
  std::chrono::milliseconds compare_pause{50};
  std::size_t compares_max = 10;
  /// ... and those that are not equal are looked up one after the other, with this pause ...
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
/// Behind a reverse proxy all callers are one peer, so whoever floods this host with wrong tokens
/// must keep no valid one out. One that was accepted within the last ten minutes never waits. Each
/// other one of such a peer waits until the hash that the database has of the token that it says to
/// be is read, together with those of all who wait; if its own is equal, it goes on. That is all it
/// decides: each token is looked up each time, and one that is revoked is refused at once.
///
/// Time tells nobody more than the answer: a right token is answered sooner than a wrong one, and
/// with 200. All wrong ones of our form wait alike, whether there is a token of that number, and
/// whether it is in memory or not; hashes are compared in constant time.
///
/// Memory: hashes of `known_max` tokens that were shown to be right, and the numbers of those that
/// wait. Nothing is read ahead: neither how many tokens there are nor who has most of them matters.
class Refusals {
 public:
  static constexpr std::chrono::minutes kKnownFor{10};

  using ReadHashes = std::function<Task<std::map<TokenKey, Bytes>>(std::vector<TokenKey>)>;

  /// `read`: hashes_of(), or for tests something like it.
  Refusals(const Clock& clock, RefusalLimits limits, ReadHashes read)
      : clock_(clock), limits_(limits), read_(std::move(read)) {}

  /// Waits for its turn where the peer has sent too many wrong ones. Error: token.too_many
  /// (retry_later): nothing was looked up.
  Task<Result<void>> admit(std::string authorization, std::string peer);
  /// Of a token that was accepted within the last ten minutes; nobody's for any other.
  [[nodiscard]] WorkspaceId workspace_of(std::string_view authorization) const;
  void accepted(std::string_view authorization, const Principal& principal);
  void wrong(const std::string& peer, std::string_view authorization);
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
  using Minute = std::int64_t;  ///< since the epoch

  struct OfPeer {
    std::int64_t wrong = 0;
    std::int64_t written = 0;
    std::int64_t line = 0;  ///< its id in the audit; 0: none yet
  };
  struct Known {
    Bytes hash;
    std::chrono::steady_clock::time_point accepted;
  };
  struct Compare;
  struct Refused {
    WorkspaceId workspace;
    std::string actor, what, code;
    std::int64_t times = 1;
  };

  [[nodiscard]] Minute minute() const;
  /// Where a peer is counted: by its own name, or among the others.
  [[nodiscard]] std::pair<Minute, std::string> entry_of(const std::string& peer) const;
  [[nodiscard]] std::int64_t wrong_of(const std::string& peer) const;  ///< in this minute
  [[nodiscard]] bool is_known(const TokenClaim& claim) const;
  /// Waits for what the database has of it.
  Task<bool> is_right(TokenClaim claim);
  /// Where it is read; null when too many wait.
  std::shared_ptr<Compare> compare_of(const Executor& executor, const TokenKey& token);
  Task<void> read_hashes(Executor executor);
  Task<void> write_wrong(pg::Pool& pool);
  Task<void> write_refused(pg::Pool& pool);
  Task<void> write_used(pg::Pool& pool);

  const Clock& clock_;
  const RefusalLimits limits_;
  std::map<std::pair<Minute, std::string>, OfPeer> peers_;
  std::map<TokenKey, Known> known_;
  const ReadHashes read_;
  std::deque<std::shared_ptr<Compare>> due_;
  bool reading_ = false;
  std::chrono::steady_clock::time_point next_turn_{};
  std::shared_ptr<std::size_t> waiting_ =
      std::make_shared<std::size_t>(0);  ///< also who outlives us
  std::vector<Refused> lines_;
  std::map<TokenKey, std::pair<Minute, std::int64_t>> refused_;
  std::set<TokenKey> used_;
  std::map<TokenKey, Minute> used_written_;
  std::int64_t wrong_total_ = 0, turned_away_total_ = 0;
};

}  // namespace sluice::api
