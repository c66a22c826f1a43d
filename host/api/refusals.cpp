#include "api/refusals.hpp"

#include "base/log.hpp"
#include "sync/audit.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

namespace sluice::api {
namespace {

using std::chrono::steady_clock;

constexpr const char* kOthers = "others";
/// Then who waits for a hash takes their turn like others.
constexpr std::chrono::seconds kCompareWaitMax{10};

// Whose it is nobody knows: it is told where the operators' own workspace is.
const pg::Statement kFirstWorkspace{"refusals_first_workspace",
                                    "select workspace_id from sluice.workspace order by 1 limit 1"};

const pg::Statement kUsed{"refusals_used", R"(
  update sluice.token t set last_used_at = now()
  from (select w, i from unnest($1::bigint[], $2::bigint[]) u (w, i) order by w, i) used
  where t.workspace_id = used.w and t.token_id = used.i)"};

}  // namespace

/// Tokens whose hashes are read by one statement, and who waits for that.
struct Refusals::Compare {
  explicit Compare(const Executor& executor) : bell(executor, kCompareWaitMax) {}
  std::set<TokenKey> tokens;
  std::map<TokenKey, Bytes> hashes;
  bool is_read = false;
  asio::steady_timer bell;
};

Refusals::Minute Refusals::minute() const {
  return std::chrono::duration_cast<std::chrono::minutes>(clock_.now()).count();
}

std::pair<Refusals::Minute, std::string> Refusals::entry_of(const std::string& peer) const {
  std::pair<Minute, std::string> entry(minute(), peer);
  if (peers_.size() >= limits_.peers_max && !peers_.contains(entry)) entry.second = kOthers;
  return entry;
}

std::int64_t Refusals::wrong_of(const std::string& peer) const {
  const auto found = peers_.find(entry_of(peer));
  return found == peers_.end() ? 0 : found->second.wrong;
}

bool Refusals::is_known(const TokenClaim& claim) const {
  const auto found = known_.find(claim.key);
  return found != known_.end() && clock_.steady() - found->second.accepted < kKnownFor &&
         is_same_hash(found->second.hash, claim.hash);
}

WorkspaceId Refusals::workspace_of(std::string_view authorization) const {
  const auto claim = claim_of(authorization);
  return claim && is_known(*claim) ? WorkspaceId(claim->key.first) : WorkspaceId();
}

std::shared_ptr<Refusals::Compare> Refusals::compare_of(const Executor& executor,
                                                        const TokenKey& token) {
  if (due_.empty() || due_.back()->tokens.size() >= limits_.compared_together) {
    if (due_.size() >= limits_.compares_max) return nullptr;
    due_.push_back(std::make_shared<Compare>(executor));
  }
  due_.back()->tokens.insert(token);
  return due_.back();
}

Task<void> Refusals::read_hashes(Executor executor) {
  asio::steady_timer pause(executor);
  while (!due_.empty()) {
    const std::shared_ptr<Compare> compare = due_.front();
    due_.pop_front();
    std::vector<TokenKey> tokens(compare->tokens.begin(), compare->tokens.end());
    try {
      compare->hashes = co_await read_(std::move(tokens));
    } catch (const std::exception& error) {
      // Who waits takes their turn, and is told of the database then.
      log::debug("token.not_compared", {{"error", error.what()}});
    }
    compare->is_read = true;
    compare->bell.cancel();
    pause.expires_after(limits_.compare_pause);
    co_await pause.async_wait(asio::use_awaitable);
  }
  reading_ = false;
}

Task<bool> Refusals::is_right(TokenClaim claim) {
  const Executor executor = co_await asio::this_coro::executor;
  const std::shared_ptr<Compare> compare = compare_of(executor, claim.key);
  if (!compare) co_return false;
  if (!std::exchange(reading_, true))
    asio::co_spawn(executor, read_hashes(executor), asio::detached);
  if (!compare->is_read) {
    boost::system::error_code ignored;
    co_await compare->bell.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  const auto found = compare->hashes.find(claim.key);
  co_return found != compare->hashes.end() && is_same_hash(found->second, claim.hash);
}

Task<Result<void>> Refusals::admit(std::string authorization, std::string peer) {
  if (wrong_of(peer) <= limits_.free_a_minute) co_return Result<void>();
  if (auto claim = claim_of(authorization)) {
    if (is_known(*claim)) co_return Result<void>();
    const bool right = co_await is_right(std::move(*claim));
    if (right) co_return Result<void>();
  }
  if (*waiting_ >= limits_.waiting_max) {
    ++turned_away_total_;
    co_return fail(ErrorKind::retry_later, "token.too_many",
                   fmt::format("too many wrong tokens came from {} in this minute; this one was "
                               "not looked at",
                               peer),
                   "Ask again in a minute; mend whoever sends the wrong ones");
  }
  struct Count {
    std::shared_ptr<std::size_t> waiting;
    explicit Count(std::shared_ptr<std::size_t> w) : waiting(std::move(w)) { ++*waiting; }
    ~Count() { --*waiting; }
  } count(waiting_);
  const auto now = clock_.steady();
  next_turn_ = std::max(next_turn_, now) + limits_.pause;
  asio::steady_timer turn(co_await asio::this_coro::executor);
  turn.expires_after(next_turn_ - now);
  co_await turn.async_wait(asio::use_awaitable);
  co_return Result<void>();
}

void Refusals::accepted(std::string_view authorization, const Principal& principal) {
  const auto now = clock_.steady();
  if (known_.size() >= limits_.known_max)
    std::erase_if(known_,
                  [now](const auto& one) { return now - one.second.accepted >= kKnownFor; });
  if (known_.size() >= limits_.known_max) known_.clear();
  if (auto claim = claim_of(authorization)) known_[claim->key] = Known{std::move(claim->hash), now};
  used_.emplace(principal.workspace.value, principal.token_id);
}

void Refusals::wrong(const std::string& peer, std::string_view authorization) {
  // It was right, and was revoked since.
  if (const auto claim = claim_of(authorization); claim && is_known(*claim))
    known_.erase(claim->key);
  ++wrong_total_;
  if (++peers_[entry_of(peer)].wrong == 1)
    log::warning("token.wrong", {{"peer", peer}, {"more", "counted in the audit, by the minute"}});
}

void Refusals::refused(const Principal& principal, std::string what, std::string code) {
  auto& [of_minute, times] = refused_[{principal.workspace.value, principal.token_id}];
  const Minute now = minute();
  if (of_minute != now) {
    of_minute = now;
    times = 0;
  }
  ++times;
  Refused line;
  line.workspace = principal.workspace;
  line.actor = principal.text();
  line.what = times <= limits_.lines_a_minute ? std::move(what) : "various";
  line.code = times <= limits_.lines_a_minute ? std::move(code) : "various";
  if (times > limits_.lines_a_minute) {
    const auto same = std::find_if(lines_.begin(), lines_.end(), [&](const Refused& one) {
      return one.what == line.what && one.actor == line.actor && one.workspace == line.workspace;
    });
    if (same != lines_.end()) {
      ++same->times;
      return;
    }
  }
  lines_.push_back(std::move(line));
}

Task<void> Refusals::write(pg::Pool& pool) {
  co_await write_wrong(pool);
  co_await write_refused(pool);
  co_await write_used(pool);
}

Task<void> Refusals::write_wrong(pg::Pool& pool) {
  const Minute now = minute();
  std::vector<std::pair<Minute, std::string>> due;
  for (const auto& [key, peer] : peers_)
    if (peer.wrong > peer.written) due.push_back(key);
  if (!due.empty()) {
    const auto first = co_await pool.query(kFirstWorkspace);
    const auto workspace = first.get<WorkspaceId>(0, 0);
    for (const auto& key : due) {
      if (peers_[key].line == 0) {
        const sync::AuditId drawn = co_await sync::draw_audit_id(pool);
        peers_[key].line = drawn.value;
      }
      const std::int64_t wrong = peers_[key].wrong;
      nlohmann::json detail;
      detail["times"] = wrong;
      detail["minute"] = to_rfc3339(std::chrono::minutes(key.first));
      pg::Call line = sync::audit_so_far(workspace, sync::AuditId(peers_[key].line), "nobody",
                                         "token.wrong", key.second, detail);
      co_await pool.query(*line.statement, std::move(line.params));
      peers_[key].written = wrong;
    }
  }
  std::erase_if(peers_, [now](const auto& entry) {
    return entry.first.first < now && entry.second.wrong == entry.second.written;
  });
}

Task<void> Refusals::write_refused(pg::Pool& pool) {
  while (!lines_.empty()) {
    const Refused one = lines_.front();
    nlohmann::json detail;
    detail["code"] = one.code;
    if (one.times > 1) detail["times"] = one.times;
    pg::Call line = sync::audit_line(one.workspace, one.actor, "request.refused", one.what, detail);
    co_await pool.query(*line.statement, std::move(line.params));
    // Its count may have grown meanwhile.
    lines_.front().times -= one.times;
    if (lines_.front().times <= 0) lines_.erase(lines_.begin());
  }
  const Minute now = minute();
  std::erase_if(refused_, [now](const auto& entry) { return entry.second.first < now; });
}

Task<void> Refusals::write_used(pg::Pool& pool) {
  const Minute now = minute();
  pg::Array workspaces(pg::Oid::int8), tokens(pg::Oid::int8);
  std::vector<TokenKey> written;
  for (const TokenKey& token : used_) {
    const auto last = used_written_.find(token);
    if (last != used_written_.end() && last->second == now) continue;
    workspaces.add(token.first);
    tokens.add(token.second);
    written.push_back(token);
  }
  if (written.empty()) co_return;
  pg::Params params(std::move(workspaces), std::move(tokens));
  co_await pool.query(kUsed, std::move(params));
  std::erase_if(used_written_, [now](const auto& entry) { return entry.second < now; });
  for (const TokenKey& token : written) {
    used_written_[token] = now;
    used_.erase(token);
  }
}

}  // namespace sluice::api
