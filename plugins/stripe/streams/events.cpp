// What changed, from Stripe's list of events: each event is only a hint that its object changed,
// the host then fetches the object. So neither the order of events nor the shape of their payloads
// matters.
//
// A run reads windows of `created` seconds, newest first, until it is `lag` behind the server's
// clock. Some events are listed later than their second says: each window therefore begins
// `overlap` seconds before the cursor, and leaves out what the trail of the window before knows.
//
// Checkpoint, format 2:
//   {"v":2,"cursor":…,"seen":"…"}                 everything up to `cursor` was put out
//   {"v":2,"cursor":…,"seen":"…","met":"…","lo":…,"hi":…,"after":"evt_…"}
//                                                 …and of the window lo…hi all that is newer than
//                                                 `after`
//   seen  trail of the events in the overlap before `cursor`      "live" as in snapshot.cpp
//   met   trail of those in the window's own overlap, as far as `after`
// Format 1 has other digests in `seen` and no `met`: what it knew is noticed once more.
#include <algorithm>

#include "streams/notices.hpp"
#include "streams/trail.hpp"
#include "stripe.hpp"

namespace stripe {

namespace {

constexpr std::int64_t kDay = 86400;
constexpr std::int64_t kFirstReach = 600;  ///< a first cursor begins so many seconds before now
constexpr std::int64_t kRetention = 29 * kDay;  ///< Stripe keeps events for 30 days
constexpr std::int64_t kOldCursor = 25 * kDay;  ///< worth a warning
constexpr std::int64_t kWindowMax =
    7 * kDay;                            ///< resumable page by page, but Stripe forgets cursors
constexpr std::int64_t kClockSlack = 2;  ///< so near to the target is near enough

}  // namespace

/// What an event would have us say; it waits until it is known whether its stretch was seen.
struct Waiting {
  std::uint32_t type = 0;
  std::int32_t kind = 0;  ///< SLUICE_NOTICE_*; 0: nothing that is synced, `id` is the event's type
  std::int64_t created = 0;
  std::string id;
};

/// Where a run over events stands.
struct EventPlace {
  std::int64_t cursor = 0;
  Trail seen;  ///< of the overlap before the cursor
  // The window under way; hi is 0 when there is none.
  std::int64_t lo = 0;
  std::int64_t hi = 0;
  std::string after;         ///< the last event that was read
  std::int64_t overlap = 0;  ///< how long the trail of a window reaches back from its end
  std::int64_t target = 0;   ///< how far this run goes; 0: not known before the first answer
  std::int64_t read_to = 0;  ///< second of the last event of this run's window; 0: none was read

  Trail met;  ///< of this window, down to its overlap
  // The stretch of `seen` under way, and what it would have us say.
  const Stretch* stretch = nullptr;
  std::uint32_t count = 0;
  std::uint64_t sum = 0;
  std::vector<Waiting> waiting;
  // As it stood before that stretch: from there a checkpoint goes on.
  std::string after_before;
  Trail met_before;

  void begin_window(std::int64_t from, std::int64_t to) {
    lo = from;
    hi = to;
    begin_pages();
  }
  void begin_stretch(const Stretch& known, std::string_view previous) {
    stretch = &known;
    count = 0;
    sum = 0;
    after_before = previous;
    met_before = met;
  }
  /// The stretch is over. When it is the one that was seen, nothing is left to say.
  void end_stretch() {
    if (stretch != nullptr && count == stretch->count && sum == stretch->sum) waiting.clear();
    stretch = nullptr;
  }
  /// From the window's first page.
  void begin_pages() {
    after.clear();
    read_to = 0;
    met.clear();
    stretch = nullptr;
    waiting.clear();
  }

  [[nodiscard]] json::Writer text() const {
    json::Writer writer;
    writer.begin_object().member("v", 2).member("cursor", cursor).member("seen", seen.text());
    if (hi != 0) {
      writer.member("met", (stretch != nullptr ? met_before : met).text());
      writer.member("lo", lo).member("hi", hi);
      writer.member("after", stretch != nullptr ? after_before : after);
    }
    return writer;
  }
};

namespace {

EventPlace parse_place(const json::Value& root) {
  EventPlace place;
  const auto version = root["v"].integer();
  std::optional<Trail> seen = version == 1 ? Trail() : Trail::parse(root["seen"].text());
  std::optional<Trail> met = version == 1 ? Trail() : Trail::parse(root["met"].text());
  place.cursor = root["cursor"].integer_or(0);
  place.lo = root["lo"].integer_or(0);
  place.hi = root["hi"].integer_or(0);
  place.after = root["after"].text();
  const bool window = place.hi == 0 ? place.after.empty()
                                    : place.lo >= 0 && place.lo <= place.hi && place.hi < kYear9999;
  if ((version != 1 && version != 2) || !seen || !met || place.cursor <= 0 ||
      place.cursor >= kYear9999 || !window) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  "the checkpoint does not hold what the stream events wrote: read everything "
                  "again from the start");
  }
  place.seen = std::move(*seen);
  place.met = std::move(*met);
  return place;
}

/// Stripe forgot events that were not read: a hole, whatever the age of our cursor.
Failure events_are_gone(Reply& reply) {
  const std::string_view said = reply.json_if_any()["error"]["message"].text();
  return Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                 "Stripe no longer has the events after the last one that was read (" +
                     without_keys(sluice::sdk::cut_utf8(said, 300)) +
                     "): everything must be read again, and what is no longer there removed");
}

}  // namespace

Task<> Stripe::read_events(std::string_view checkpoint_text) {
  const std::string what = "reading /v1/events";
  EventPlace place;
  if (checkpoint_text.empty()) {
    Reply reply = co_await get("/v1/events?limit=1");
    if (reply.status() != 200) throw explain(reply, what, now_ms(), "events");
    look_at(reply, what);
    const ListPage page = page_of(reply, what, {});
    for (const json::Value event : page.data.items())
      learn_mode(event["livemode"].boolean(), what, page.last);
    place.cursor = server_seconds(reply) - kFirstReach;
    json::Writer text = place.text();
    put_mode(text);
    co_await checkpoint(text.end_object().text());
    co_return;
  }
  json::Document document;
  const json::Value root = parse_checkpoint(document, checkpoint_text);
  place = parse_place(root);
  place.overlap = event_overlap_;
  take_mode(root);
  const std::int64_t age = now_ms() / 1000 - place.cursor;
  if (age > kRetention) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  "the last event read is " + std::to_string(age / kDay) +
                      " days old and Stripe keeps events for 30 days: everything must be read "
                      "again, and what is no longer there removed");
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
  for (;;) {
    if (!begun) {
      const std::int64_t lo = std::max<std::int64_t>(place.cursor - place.overlap, 0);
      const std::int64_t wanted = place.target != 0 ? place.target : now_ms() / 1000 - event_lag_;
      place.begin_window(lo, std::max(lo, std::min(wanted, lo + kWindowMax + place.overlap)));
    }
    begun = false;

    for (;;) {
      Target target("/v1/events");
      target.add("limit", page_size(kPageMax))
          .add("created[gte]", place.lo)
          .add("created[lte]", place.hi);
      if (!place.after.empty()) target.add("starting_after", place.after);
      Reply reply = co_await get(target.text());
      if (place.target == 0) place.target = server_seconds(reply) - event_lag_;
      if (place.after.empty() && reply.status() == 200)
        place.hi = std::max(place.lo, std::min(place.hi, place.target));
      if (is_aged_out(reply)) {
        // Harmless only in the overlap, where everything was put out before.
        if (place.read_to == 0 || place.read_to > place.cursor) throw events_are_gone(reply);
        co_await log(SLUICE_LOG_WARNING,
                     "the events before this page have aged out: nothing older can be read");
        break;
      }
      if (!place.after.empty() && is_bad_cursor(reply)) {
        guard.next_cursor(place.after);
        place.begin_pages();
        continue;
      }
      if (reply.status() != 200) throw explain(reply, what, now_ms(), "events");
      look_at(reply, what);

      const ListPage page = page_of(reply, what, place.after);
      co_await notice_events(page.data, place);
      read += static_cast<std::int64_t>(page.data.items().size());
      if (!page.more) break;
      guard.next_cursor(page.last);
      place.after = page.last;
      json::Writer text = place.text();
      put_mode(text);
      co_await checkpoint(text.end_object().text());
    }

    place.end_stretch();
    co_await give_notices(place.waiting);
    place.cursor = std::max(place.cursor, place.hi);
    place.hi = 0;
    place.seen = place.met;
    json::Writer text = place.text();
    put_mode(text);
    co_await checkpoint(text.end_object().text());
    if (place.cursor >= place.target - kClockSlack) break;
  }
  co_await log_events(read);
}

Task<> Stripe::notice_events(const json::Value& page, EventPlace& place) {
  const std::string what = "reading /v1/events";
  std::vector<Hint> hints;
  faces_.clear();
  for (const json::Value event : page.items()) {
    Face face = face_of(event);
    // Too fresh: it is left to the next run, as if it were not listed yet.
    if (std::max<std::int64_t>(face.created.value_or(0), 0) > place.hi) face.livemode.reset();
    faces_.push_back(face);
  }
  learn_modes(what);
  co_await tell_strays("events");
  std::string_view previous = place.after;
  std::size_t at = 0;
  for (const json::Value event : page.items()) {
    const bool stray = faces_[at++].stray;
    const std::string_view id = event["id"].text();
    const std::string_view before = previous;
    if (!id.empty()) previous = id;
    const std::int64_t created = std::max<std::int64_t>(event["created"].integer_or(0), 0);
    if (created > place.hi) continue;
    place.read_to = created;

    const std::uint64_t digest = event_digest(id);
    if (const Stretch* const known = place.seen.beginning_with(digest)) {
      place.end_stretch();
      co_await give_notices(place.waiting);
      place.begin_stretch(*known, before);
    }
    if (created >= place.hi - place.overlap) place.met.add(digest);

    const std::string_view account = event["account"].text();
    const std::string_view type = event["type"].text();
    const bool foreign = !account.empty() && account != account_ && !is_about_accounts(type);
    hints_of(event, hints);
    if (foreign || stray) hints.clear();
    if (hints.empty()) {
      place.waiting.emplace_back().id = stray     ? "(of another mode)"
                                        : foreign ? "(of another account)"
                                                  : type;
    }
    for (const Hint& hint : hints) {
      Waiting& waiting = place.waiting.emplace_back();
      waiting.type = hint.type;
      waiting.kind = hint.kind;
      waiting.created = std::min(created, kYear9999);
      waiting.id = hint.id;
    }
    if (place.stretch != nullptr) {
      ++place.count;
      place.sum ^= digest;
      if (place.count < place.stretch->count) continue;
      place.end_stretch();
    }
    co_await give_notices(place.waiting);
  }
}

Task<> Stripe::give_notices(std::vector<Waiting>& waiting) {
  constexpr std::size_t kNoticedMax = 200'000;
  constexpr std::size_t kTypesMax = 100;
  if (noticed_.size() > kNoticedMax) noticed_.clear();
  for (const Waiting& one : waiting) {
    if (one.kind == 0) {
      if (not_synced_.size() < kTypesMax)
        ++not_synced_[std::string(sluice::sdk::cut_utf8(one.id, 80))];
      continue;
    }
    const std::uint64_t key =
        sluice::sdk::stable_hash(one.id, one.type * 4 + static_cast<std::uint64_t>(one.kind));
    if (!noticed_.insert(key).second) continue;
    co_await notify(one.type, one.id, one.kind, one.created * 1'000'000);
  }
  waiting.clear();
}

Task<> Stripe::log_events(std::int64_t read) {
  if (not_synced_.empty()) co_return;
  std::string line = std::to_string(read) + " events read; types that are not synced:";
  for (const auto& [type, count] : not_synced_) line += " " + type + " ×" + std::to_string(count);
  co_await log(SLUICE_LOG_INFO, sluice::sdk::cut_utf8(line, 1000));
}

}  // namespace stripe
