// What changed, from Stripe's list of events: each event is only a hint that its object changed,
// the host then fetches the object. So neither the order of events nor the shape of their payloads
// matters.
//
// A run reads windows of `created` seconds, newest first, until it is `lag` behind the server's
// clock. Some events are listed later than their second says: each run therefore begins `overlap`
// seconds before the cursor, and leaves out the event ids it has seen there.
//
// Checkpoint, format 1:
//   {"v":1,"cursor":…,"seen":"…"}                                 everything up to `cursor` was put
//   out
//   {"v":1,"cursor":…,"seen":"…","lo":…,"hi":…,"after":"evt_…"}   …and of the window lo…hi all that
//   is newer than `after` seen: event ids of the overlap, 64-bit digests of 11 characters. When
//   there are too many for a checkpoint the newest are kept: the others are noticed again, which
//   costs a request each and loses nothing.
#include <algorithm>
#include <array>

#include "stripe.hpp"

namespace stripe {

namespace types = manifest::types;

namespace {

constexpr std::int64_t kDay = 86400;
constexpr std::int64_t kFirstReach = 600;  ///< a first cursor begins so many seconds before now
constexpr std::int64_t kRetention = 29 * kDay;  ///< Stripe keeps events for 30 days
constexpr std::int64_t kOldCursor = 25 * kDay;  ///< worth a warning
constexpr std::int64_t kWindowMax =
    7 * kDay;                            ///< resumable page by page, but Stripe forgets cursors
constexpr std::int64_t kClockSlack = 2;  ///< so near to the target is near enough
constexpr std::size_t kSeenMax = 340;
constexpr std::size_t kDigestChars = 11;
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string digests_to_text(const std::vector<std::uint64_t>& digests) {
  std::string text;
  text.reserve(digests.size() * kDigestChars);
  for (std::uint64_t digest : digests) {
    for (std::size_t i = 0; i < kDigestChars; ++i, digest >>= 6) text += kAlphabet[digest & 63];
  }
  return text;
}

std::optional<std::vector<std::uint64_t>> text_to_digests(std::string_view text) {
  if (text.size() % kDigestChars != 0) return std::nullopt;
  std::vector<std::uint64_t> digests;
  for (std::size_t at = 0; at < text.size(); at += kDigestChars) {
    std::uint64_t digest = 0;
    for (std::size_t i = 0; i < kDigestChars; ++i) {
      const std::size_t value = kAlphabet.find(text[at + i]);
      if (value == std::string_view::npos) return std::nullopt;
      digest |= static_cast<std::uint64_t>(value) << (6 * i);
    }
    digests.push_back(digest);
  }
  return digests;
}

struct Hint {
  std::uint32_t type;
  std::string_view id;
  std::int32_t kind;
};

bool begins_with(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

/// What one event says about objects of ours. Empty: nothing that is synced here.
class Hints {
 public:
  explicit Hints(const json::Value& event) {
    const std::string_view type = event["type"].text();
    const json::Value object = event["data"]["object"];
    const auto dot = type.rfind('.');
    const std::string_view verb =
        dot == std::string_view::npos ? std::string_view{} : type.substr(dot + 1);
    const std::int32_t kind = verb == "deleted" ? SLUICE_NOTICE_DELETED : SLUICE_NOTICE_CHANGED;

    if (begins_with(type, "customer.subscription.")) {
      add(types::subscription, object["id"],
          SLUICE_NOTICE_CHANGED);  // "deleted" means ended: it can still be read
    } else if (begins_with(type, "customer.discount.")) {
      add(types::customer, object["customer"], SLUICE_NOTICE_CHANGED);
      add(types::subscription, object["subscription"], SLUICE_NOTICE_CHANGED);
    } else if (begins_with(type, "customer.") && type.find('.', 9) != std::string_view::npos) {
      add(types::customer, object["customer"],
          SLUICE_NOTICE_CHANGED);  // its sources, tax ids, cash balance
    } else if (begins_with(type, "customer.")) {
      add(types::customer, object["id"], kind);
    } else if (begins_with(type, "product.")) {
      add(types::product, object["id"], kind);
    } else if (begins_with(type, "price.")) {
      add(types::price, object["id"], kind);
    } else if (begins_with(type, "invoice.")) {
      add_invoice(verb, object, kind);
    } else if (begins_with(type, "invoice_payment.")) {
      add(types::invoice_payment, object["id"], SLUICE_NOTICE_CHANGED);
      add(types::invoice, object["invoice"], SLUICE_NOTICE_CHANGED);
    } else if (begins_with(type, "invoiceitem.")) {
      add(types::invoice, object["invoice"], SLUICE_NOTICE_CHANGED);
    }
  }

  [[nodiscard]] const Hint* begin() const { return hints_.data(); }
  [[nodiscard]] const Hint* end() const { return hints_.data() + count_; }
  [[nodiscard]] bool empty() const { return count_ == 0; }

 private:
  void add(std::uint32_t type, const json::Value& reference, std::int32_t kind) {
    const std::string_view id = sluice::sdk::reference_id(reference);
    if (id.empty()) return;
    Hint& hint = hints_[count_++];
    hint.type = type;
    hint.id = id;
    hint.kind = kind;
  }

  void add_invoice(std::string_view verb, const json::Value& invoice, std::int32_t kind) {
    // A preview is no invoice: it has no id, or one that cannot be read.
    if (verb == "upcoming" || begins_with(invoice["id"].text(), "upcoming_in")) return;
    add(types::invoice, invoice["id"], kind);
    if (verb != "paid" && verb != "payment_failed") return;
    // Paying moves the subscription's status and the customer's balance; both places where an
    // invoice of whatever version names its subscription.
    add(types::customer, invoice["customer"], SLUICE_NOTICE_CHANGED);
    const json::Value by_parent = invoice["parent"]["subscription_details"]["subscription"];
    add(types::subscription, by_parent.has_value() ? by_parent : invoice["subscription"],
        SLUICE_NOTICE_CHANGED);
  }

  std::array<Hint, 4> hints_{};
  std::size_t count_ = 0;
};

}  // namespace

/// Where a run over events stands.
struct EventPlace {
  std::int64_t cursor = 0;
  std::vector<std::uint64_t> seen;  ///< sorted; of this and earlier runs
  // The window under way; hi is 0 when there is none.
  std::int64_t lo = 0;
  std::int64_t hi = 0;
  std::string after;

  std::int64_t target = 0;  ///< how far this run goes; 0: not known before the first answer
  /// (created, digest) of every event met in this run that a later overlap may meet again.
  std::vector<std::pair<std::int64_t, std::uint64_t>> met;

  [[nodiscard]] bool was_seen(std::uint64_t digest) const {
    return std::binary_search(seen.begin(), seen.end(), digest);
  }

  /// What the checkpoint keeps: of all that was met since `from` the newest, and what earlier runs
  /// saw if there is room.
  [[nodiscard]] std::vector<std::uint64_t> kept_digests(std::int64_t from,
                                                        bool window_under_way) const {
    std::vector<std::pair<std::int64_t, std::uint64_t>> newest;
    for (const auto& one : met) {
      if (one.first >= from) newest.push_back(one);
    }
    std::sort(newest.begin(), newest.end(), std::greater<>());
    newest.erase(std::unique(newest.begin(), newest.end()), newest.end());
    std::vector<std::uint64_t> kept;
    for (const auto& [created, digest] : newest) {
      if (kept.size() < kSeenMax) kept.push_back(digest);
    }
    if (window_under_way) {
      for (const std::uint64_t digest : seen) {
        if (kept.size() < kSeenMax) kept.push_back(digest);
      }
    }
    std::sort(kept.begin(), kept.end());
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
    return kept;
  }

  [[nodiscard]] std::string text(std::int64_t seen_from) const {
    json::Writer writer;
    writer.begin_object().member("v", 1).member("cursor", cursor);
    writer.member("seen", digests_to_text(kept_digests(seen_from, hi != 0)));
    if (hi != 0) writer.member("lo", lo).member("hi", hi).member("after", after);
    writer.end_object();
    return writer.text();
  }
};

namespace {

EventPlace parse_place(std::string_view text) {
  json::Document document;
  json::Value root;
  try {
    root = document.parse(text);
  } catch (const json::Error& error) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  std::string("the checkpoint is damaged: ") + error.what());
  }
  EventPlace place;
  auto seen = text_to_digests(root["seen"].text());
  place.cursor = root["cursor"].integer_or(0);
  place.lo = root["lo"].integer_or(0);
  place.hi = root["hi"].integer_or(0);
  place.after = root["after"].text();
  constexpr std::int64_t kYear9999 = 253'402'300'799;
  const bool window = place.hi == 0 ? place.after.empty()
                                    : place.lo >= 0 && place.lo <= place.hi && place.hi < kYear9999;
  if (root["v"].integer() != 1 || !seen || place.cursor <= 0 || place.cursor >= kYear9999 ||
      !window) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  "the checkpoint does not hold what the stream events wrote: read everything "
                  "again from the start");
  }
  place.seen = std::move(*seen);
  std::sort(place.seen.begin(), place.seen.end());
  return place;
}

}  // namespace

Task<> Stripe::read_events(std::string_view checkpoint_text) {
  EventPlace place;
  if (checkpoint_text.empty()) {
    Reply reply = co_await get("/v1/events?limit=1");
    if (reply.status() != 200) throw explain(reply, "reading /v1/events", now_ms());
    place.cursor = server_seconds(reply) - kFirstReach;
    co_await checkpoint(place.text(0));
    co_return;
  }
  place = parse_place(checkpoint_text);
  const std::int64_t age = now_ms() / 1000 - place.cursor;
  if (age > kRetention) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  "the last event read is " + std::to_string(age / kDay) +
                      " days old and Stripe keeps events for 30 days: everything must be read "
                      "again, and what is no "
                      "longer there removed");
  }
  if (age > kOldCursor) {
    co_await log(SLUICE_LOG_WARNING, "the last event read is " + std::to_string(age / kDay) +
                                         " days old; Stripe keeps events for 30 days");
  }
  co_await read_event_windows(place);
}

Task<> Stripe::read_event_windows(EventPlace& place) {
  const std::string what = "reading /v1/events";
  LoopGuard guard(what, kPagesMax);
  std::int64_t read = 0;
  bool begun = place.hi != 0;  // a window of an earlier run to be finished
  std::int64_t overlap = event_overlap_;
  for (;;) {
    if (!begun) {
      place.lo = std::max<std::int64_t>(place.cursor - overlap, 0);
      const std::int64_t wanted = place.target != 0 ? place.target : now_ms() / 1000 - event_lag_;
      place.hi = std::max(place.lo, std::min(wanted, place.lo + kWindowMax + overlap));
      place.after.clear();
    }
    begun = false;

    bool window_ends = false;
    while (!window_ends) {
      Target target("/v1/events");
      target.add("limit", page_size(kPageMax))
          .add("created[gte]", place.lo)
          .add("created[lte]", place.hi);
      if (!place.after.empty()) target.add("starting_after", place.after);
      Reply reply = co_await get(target.text());
      if (place.target == 0) place.target = server_seconds(reply) - event_lag_;
      if (place.after.empty() && reply.status() == 200)
        place.hi = std::max(place.lo, std::min(place.hi, place.target));
      if (!place.after.empty() && is_aged_out(reply)) {
        co_await log(SLUICE_LOG_WARNING,
                     "the events before this page have aged out: nothing older can be read");
        break;
      }
      if (!place.after.empty() && is_bad_cursor(reply)) {
        guard.next_cursor(place.after);
        place.after.clear();
        continue;
      }
      if (reply.status() != 200) throw explain(reply, what, now_ms());

      const json::Value data = list_data(reply, what);
      co_await notice_events(data, place, place.hi - event_overlap_);
      std::string_view last;
      for (const json::Value event : data.items()) {
        last = event["id"].text();
        ++read;
      }
      window_ends = reply.json()["has_more"].boolean() != true || last.empty();
      if (window_ends) break;
      guard.next_cursor(last);
      place.after = last;
      co_await checkpoint(place.text(place.hi - event_overlap_));
    }

    place.cursor = std::max(place.cursor, place.hi);
    const std::int64_t seen_from = place.cursor - event_overlap_;
    place.hi = 0;
    place.seen = place.kept_digests(seen_from, false);
    co_await checkpoint(place.text(seen_from));
    if (place.cursor >= place.target - kClockSlack) break;
    overlap = 0;  // within one run nothing was listed late between two windows
  }
  co_await log_events(read);
}

Task<> Stripe::notice_events(const json::Value& page, EventPlace& place, std::int64_t seen_from) {
  constexpr std::size_t kNoticedMax = 200'000;
  for (const json::Value event : page.items()) {
    const std::int64_t created = event["created"].integer_or(0);
    if (created > place.hi)
      continue;  // too fresh: left to the next run, as if it were not listed yet
    const std::string_view id = event["id"].text();
    const std::uint64_t digest = sluice::sdk::stable_hash(id);
    const bool known = !id.empty() && place.was_seen(digest);
    if (!id.empty() && created >= seen_from) place.met.emplace_back(created, digest);
    if (known) continue;
    const Hints hints(event);
    if (hints.empty()) {
      constexpr std::size_t kTypesMax = 100;
      const std::string_view type = event["type"].text();
      if (not_synced_.size() < kTypesMax)
        ++not_synced_[std::string(sluice::sdk::cut_utf8(type, 80))];
    }
    if (noticed_.size() > kNoticedMax) noticed_.clear();
    for (const Hint& hint : hints) {
      const std::uint64_t key =
          sluice::sdk::stable_hash(hint.id, hint.type * 4 + static_cast<std::uint64_t>(hint.kind));
      if (!noticed_.insert(key).second) continue;
      co_await notify(hint.type, hint.id, hint.kind, created * 1'000'000);
    }
  }
}

Task<> Stripe::log_events(std::int64_t read) {
  if (not_synced_.empty()) co_return;
  std::string line = std::to_string(read) + " events read; types that are not synced:";
  for (const auto& [type, count] : not_synced_) line += " " + type + " ×" + std::to_string(count);
  co_await log(SLUICE_LOG_INFO, sluice::sdk::cut_utf8(line, 1000));
}

}  // namespace stripe
