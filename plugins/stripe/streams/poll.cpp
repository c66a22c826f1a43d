// What is new in a list, where no event announces it, and what was read before it had settled.
//
// A run reads the window from `overlap` seconds before its cursor up to now, newest first. What it
// meets unsettled (a balance transaction pending until available_on, a checkout session open until
// expires_at) is remembered as the day on which it was created and when the first of that day is
// due; when the time has come, that day is read again, and what is unsettled still is remembered
// anew. So the checkpoint stays small however many wait.
//
// The first run reads nothing. It fixes the cursor and has what the snapshot may have met
// unsettled, or may have missed while it ran, read again an hour later.
//
// A list that cannot be cut by `created` is read from its top down to the window's beginning.
//
// Checkpoint, format 2: {"v":2,"cursor":…,"days":[[from,to,due],…],"live":true}
//   …and while a window is under way: "lo":…,"hi":…,"after":"txn_…","again":true
//   again  the window is one of the days, taken from the list
#include <algorithm>

#include "stripe.hpp"

namespace stripe {

namespace {

constexpr std::int64_t kDay = 86400;
constexpr std::int64_t kOverlap = 600;            ///< Stripe lists some things late
constexpr std::int64_t kFirstPause = 3600;        ///< before the first run's reach is read again
constexpr std::int64_t kDueSlack = 1800;          ///< what is due changes a little later
constexpr std::int64_t kOverduePause = 6 * 3600;  ///< it should have settled and has not
constexpr std::size_t kDaysMax = 50;

/// Some of what was created in from…to is unsettled; the first of it is due then.
struct Days {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t due = 0;
};

}  // namespace

struct PollPlace {
  std::int64_t cursor = 0;
  std::vector<Days> days;  ///< in order of `from`, apart from each other
  // The window under way; hi is 0 when there is none.
  std::int64_t lo = 0;
  std::int64_t hi = 0;
  std::string after;
  bool again = false;

  void remember(std::int64_t created, std::int64_t due) {
    const auto behind =
        std::find_if(days.begin(), days.end(), [&](const Days& d) { return d.to >= created; });
    if (behind != days.end() && behind->from <= created) {
      behind->due = std::min(behind->due, due);
      return;
    }
    Days day;
    day.from = created / kDay * kDay;
    day.to = day.from + kDay - 1;
    if (behind != days.begin()) day.from = std::max(day.from, std::prev(behind)->to + 1);
    if (behind != days.end()) day.to = std::min(day.to, behind->from - 1);
    day.due = due;
    days.insert(behind, day);
    if (days.size() > kDaysMax) join_closest();
  }

  /// Too many days: the two with the least between them become one.
  void join_closest() {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < days.size(); ++i) {
      if (days[i + 1].to - days[i].from < days[best + 1].to - days[best].from) best = i;
    }
    days[best].to = days[best + 1].to;
    days[best].due = std::min(days[best].due, days[best + 1].due);
    days.erase(days.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }

  void begin_newest(std::int64_t now) {
    lo = std::max<std::int64_t>(cursor - kOverlap, 0);
    hi = std::max(lo + 1, now);
    after.clear();
    again = false;
  }

  /// Takes the days that have been due longest as the window; false when none is due.
  bool take_due(std::int64_t now) {
    const auto first = std::min_element(days.begin(), days.end(),
                                        [](const Days& a, const Days& b) { return a.due < b.due; });
    if (first == days.end() || first->due > now) return false;
    lo = first->from;
    hi = first->to;
    after.clear();
    again = true;
    days.erase(first);
    return true;
  }

  [[nodiscard]] json::Writer text() const {
    json::Writer writer;
    writer.begin_object().member("v", 2).member("cursor", cursor).name("days").begin_array();
    for (const Days& day : days)
      writer.begin_array().value(day.from).value(day.to).value(day.due).end_array();
    writer.end_array();
    if (hi != 0)
      writer.member("lo", lo).member("hi", hi).member("after", after).member("again", again);
    return writer;
  }
};

namespace {

PollPlace parse_place(const json::Value& root, std::string_view stream) {
  const auto second = [](std::int64_t value) { return value >= 0 && value < kYear9999; };
  PollPlace place;
  place.cursor = root["cursor"].integer_or(0);
  place.lo = root["lo"].integer_or(0);
  place.hi = root["hi"].integer_or(0);
  place.after = root["after"].text();
  place.again = root["again"].boolean() == true;
  bool plausible = root["v"].integer() == 2 && place.cursor > 0 && second(place.cursor) &&
                   second(place.lo) && second(place.hi) &&
                   (place.hi == 0 || place.lo <= place.hi) && root["days"].is_array();
  for (const json::Value entry : root["days"].items()) {
    std::vector<std::int64_t> numbers;
    for (const json::Value number : entry.items()) numbers.push_back(number.integer_or(-1));
    plausible = plausible && numbers.size() == 3 && second(numbers[0]) && second(numbers[1]) &&
                second(numbers[2]) && numbers[0] <= numbers[1] && place.days.size() < kDaysMax &&
                (place.days.empty() || place.days.back().to < numbers[0]);
    if (!plausible) break;
    Days& day = place.days.emplace_back();
    day.from = numbers[0];
    day.to = numbers[1];
    day.due = numbers[2];
  }
  if (!plausible) reject_checkpoint(stream);
  return place;
}

}  // namespace

Task<> Stripe::read_poll(const Poll& poll, const List& list, std::string_view checkpoint_text) {
  PollPlace place;
  if (checkpoint_text.empty()) {
    const std::string what = "reading " + std::string(kind_of(list.type).path);
    Target target = list_target(list);
    Reply reply = co_await get(target.add("limit", 1).text());
    if (reply.status() != 200) throw explain(reply, what, now_ms(), poll.stream);
    look_at(reply, what);
    const ListPage page = page_of(reply, what, {});
    look_over(kind_of(list.type), page, what);
    const std::int64_t now = server_seconds(reply);
    if (list.by_created) {
      place.cursor = now - kOverlap;
      Days& reach = place.days.emplace_back();
      reach.from = std::max<std::int64_t>(now - poll.reach, 0);
      reach.to = now;
      reach.due = now + kFirstPause;
    } else {
      place.cursor = std::max<std::int64_t>(now - poll.reach, 1);
    }
    json::Writer text = place.text();
    put_mode(text);
    co_await checkpoint(text.end_object().text());
    co_return;
  }
  json::Document document;
  const json::Value root = parse_checkpoint(document, checkpoint_text);
  place = parse_place(root, poll.stream);
  take_mode(root);
  const std::int64_t now = now_ms() / 1000;
  if (place.hi != 0) co_await read_poll_window(poll, list, place);  // that an earlier run began
  place.begin_newest(now);
  co_await read_poll_window(poll, list, place);
  // Each day once at most: what is found unsettled again waits for another run.
  for (std::size_t left = place.days.size(); left > 0 && place.take_due(now); --left)
    co_await read_poll_window(poll, list, place);
}

Task<> Stripe::read_poll_window(const Poll& poll, const List& list, PollPlace& place) {
  const Kind& kind = kind_of(list.type);
  const std::string what = "reading " + std::string(kind.path);
  LoopGuard guard(what, kPagesMax);
  for (;;) {
    Target target = list_target(list);
    target.add("limit", page_size(kPageMax));
    if (list.by_created) target.add("created[gte]", place.lo).add("created[lte]", place.hi);
    if (!place.after.empty()) target.add("starting_after", place.after);
    Reply reply = co_await get(target.text());
    if (!place.after.empty() && is_bad_cursor(reply)) {
      guard.next_cursor(place.after);
      place.after.clear();
      continue;
    }
    if (reply.status() != 200) throw explain(reply, what, now_ms(), poll.stream);
    look_at(reply, what);
    const std::int64_t now = server_seconds(reply);
    // A host's clock ahead of Stripe's must not carry the cursor past what is still to come.
    if (place.after.empty() && !place.again)
      place.hi = std::max(place.lo + 1, std::min(place.hi, now));

    const ListPage page = page_of(reply, what, place.after);
    bool below = false;
    look_over(kind, page, what);
    co_await tell_strays(poll.stream);
    std::size_t at = 0;
    for (const json::Value object : page.data.items()) {
      const Face face = faces_[at++];
      co_await emit_listed(kind, face, object);
      const std::int64_t created = std::clamp<std::int64_t>(face.created.value_or(0), 0, place.hi);
      below = created < place.lo;
      if (face.stray || poll.unsettled.empty() || object["status"].text() != poll.unsettled)
        continue;
      const std::int64_t due = object[poll.due_field].integer_or(0);
      place.remember(created,
                     due > now && due < kYear9999 - kDay ? due + kDueSlack : now + kOverduePause);
    }
    if (!page.more || (below && !list.by_created)) break;
    guard.next_cursor(page.last);
    place.after = page.last;
    json::Writer text = place.text();
    put_mode(text);
    co_await checkpoint(text.end_object().text());
  }
  if (!place.again) place.cursor = std::max(place.cursor, place.hi);
  place.hi = 0;
  place.after.clear();
  json::Writer text = place.text();
  put_mode(text);
  co_await checkpoint(text.end_object().text());
}

}  // namespace stripe
