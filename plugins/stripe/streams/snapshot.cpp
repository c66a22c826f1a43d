// Reads a whole list, newest first, down from the moment T0 at which the first page was made. What
// is created later stands before our cursor and is left to the events, whose cursor began before
// T0, or to the list's poll stream.
//
// What hangs on a test clock is in no list unless its clock is named: in test mode the list is
// followed by one of each clock there is, whatever the clock says is now.
//
// Checkpoint, format 2: {"v":2,"t0":…,"lt":…,"after":"cus_…","created":…,"live":true}
//   …and with a clock:  "clock":"clock_…","clock_after":"cus_…"
//   t0       0: nothing was read yet
//   lt       everything is created before this second
//   after    the last object of the last page that was put out; empty: begin at lt
//   created  its second: where to begin again when Stripe no longer knows `after`
//   live     the mode of what was read; not there before anything showed it
//   clock    the list is done, and so are the clocks before this one; of its own list all down to
//            `clock_after`
// Format 1 is the same without `live`.
#include "stripe.hpp"

namespace stripe {

struct SnapshotPlace {
  std::int64_t t0 = 0;
  std::int64_t below = 0;
  std::string after;
  std::int64_t created = 0;
  std::string clock;
  std::string clock_after;

  [[nodiscard]] json::Writer text() const {
    json::Writer writer;
    writer.begin_object().member("v", 2).member("t0", t0).member("lt", below);
    writer.member("after", after).member("created", created);
    if (!clock.empty()) writer.member("clock", clock).member("clock_after", clock_after);
    return writer;
  }
};

namespace {

SnapshotPlace parse_place(const json::Value& root, std::string_view stream) {
  const auto version = root["v"].integer();
  const auto t0 = root["t0"].integer();
  const auto below = root["lt"].integer();
  const auto created = root["created"].integer();
  const bool shaped = (version == 1 || version == 2) && t0 && below && created &&
                      root["after"].is_string() && *t0 >= 0;
  if (!shaped) reject_checkpoint(stream);
  SnapshotPlace place;
  if (*t0 == 0) return place;
  if (*t0 > kYear9999 || *below <= 0 || *below > *t0 + 1 || *created < 0 || *created >= *below)
    reject_checkpoint(stream);
  place.t0 = *t0;
  place.below = *below;
  place.after = root["after"].text();
  place.created = *created;
  place.clock = root["clock"].text();
  place.clock_after = root["clock_after"].text();
  return place;
}

}  // namespace

Task<> Stripe::read_snapshot(const List& list, std::string_view checkpoint_text) {
  SnapshotPlace place;
  if (!checkpoint_text.empty()) {
    json::Document document;
    const json::Value root = parse_checkpoint(document, checkpoint_text);
    place = parse_place(root, list.stream);
    take_mode(root);
  }
  if (place.clock.empty()) co_await read_list(list, place);
  if (list.by_clock) co_await read_clocks(list, place);
}

Task<> Stripe::checkpoint_place(const SnapshotPlace& place) {
  json::Writer text = place.text();
  put_mode(text);
  co_await checkpoint(text.end_object().text());
}

Task<> Stripe::emit_listed(const Kind& kind, const Face& face, json::Value object) {
  if (face.stray) {
    co_await put_aside(kind, face);
  } else if (face.deleted && !face.id.empty()) {
    co_await emit_gone(kind.type, face.id);
  } else {
    co_await emit_object(kind, face.id, object);
  }
}

Task<> Stripe::read_list(const List& list, SnapshotPlace& place) {
  constexpr int kRestartsMax = 5;  // in a row, without a page between them
  const Kind& kind = kind_of(list.type);
  const std::string what = "reading " + std::string(kind.path);
  LoopGuard guard(what, kPagesMax);
  int restarts = 0;

  for (;;) {
    Target target = list_target(list);
    target.add("limit", page_size(kPageMax));
    if (place.t0 != 0 && list.by_created) target.add("created[lt]", place.below);
    if (!place.after.empty()) target.add("starting_after", place.after);

    Reply reply = co_await get(target.text());
    if (!place.after.empty() && is_bad_cursor(reply)) {
      if (++restarts > kRestartsMax) throw explain(reply, what, now_ms(), list.stream);
      std::string lost = what + ": Stripe no longer knows the cursor; beginning again";
      if (list.by_created) lost += " at its second";
      co_await log(SLUICE_LOG_WARNING, lost);
      place.below = place.created + 1;
      place.after.clear();
      continue;
    }
    if (reply.status() != 200) throw explain(reply, what, now_ms(), list.stream);
    look_at(reply, what);
    restarts = 0;
    if (place.t0 == 0) {
      place.t0 = server_seconds(reply);
      place.below = place.t0 + 1;
    }

    const ListPage page = page_of(reply, what, place.after);
    look_over(kind, page, what);
    co_await tell_strays(list.stream);
    std::size_t at = 0;
    for (const json::Value object : page.data.items()) {
      const Face face = faces_[at++];
      co_await emit_listed(kind, face, object);
      if (face.id.empty()) continue;
      const std::int64_t created = face.created.value_or(place.below - 1);
      place.created = created < 0 ? 0 : created >= place.below ? place.below - 1 : created;
    }
    if (!page.last.empty()) {
      if (page.more) guard.next_cursor(page.last);
      place.after = page.last;
      co_await checkpoint_place(place);
    }
    if (!page.more) co_return;
  }
}

Task<> Stripe::read_clocks(const List& list, SnapshotPlace& place) {
  if (livemode_ == true) co_return;  // there are none
  const std::string what = "reading /v1/test_helpers/test_clocks";
  LoopGuard guard(what, kPagesMax);
  if (!place.clock.empty()) co_await read_clock(list, place);  // that an earlier run began
  std::string after = place.clock;
  for (;;) {
    Target target("/v1/test_helpers/test_clocks");
    target.add("limit", page_size(kPageMax));
    if (!after.empty()) target.add("starting_after", after);
    Reply reply = co_await get(target.text());
    if (!after.empty() && is_bad_cursor(reply)) {  // that clock is gone: all of them once more
      guard.next_cursor(after);
      after.clear();
      continue;
    }
    // Nothing showed the mode, so there is nothing in the list: with a live key no clock can be.
    if (!livemode_ && reply.status() >= 400 && reply.status() < 500 && reply.status() != 429)
      co_return;
    if (reply.status() != 200) throw explain(reply, what, now_ms(), list.stream);
    look_at(reply, what);
    const ListPage page = page_of(reply, what, after);
    std::vector<std::string> clocks;
    for (const json::Value clock : page.data.items()) {
      const std::string_view id = clock["id"].text();
      learn_mode(clock["livemode"].boolean(), what, id);
      if (!id.empty()) clocks.emplace_back(id);
    }
    const bool more = page.more;
    after = page.last;
    if (more) guard.next_cursor(after);
    for (std::string& clock : clocks) {
      place.clock = std::move(clock);
      place.clock_after.clear();
      co_await read_clock(list, place);
    }
    if (!more) co_return;
  }
}

/// The list of what hangs on one clock. It is not cut by `created`, which is the clock's own time.
Task<> Stripe::read_clock(const List& list, SnapshotPlace& place) {
  const Kind& kind = kind_of(list.type);
  const std::string what = "reading " + std::string(kind.path) + " of " + place.clock;
  LoopGuard guard(what, kPagesMax);
  for (;;) {
    Target target = list_target(list);
    target.add("limit", page_size(kPageMax)).add("test_clock", place.clock);
    if (!place.clock_after.empty()) target.add("starting_after", place.clock_after);
    Reply reply = co_await get(target.text());
    if (is_bad_cursor(reply) || is_gone(reply)) {
      if (place.clock_after.empty()) co_return;  // the clock went, and all that hung on it
      guard.next_cursor(place.clock_after);
      place.clock_after.clear();
      continue;
    }
    if (reply.status() != 200) throw explain(reply, what, now_ms(), list.stream);
    look_at(reply, what);
    const ListPage page = page_of(reply, what, place.clock_after);
    look_over(kind, page, what);
    co_await tell_strays(list.stream);
    std::size_t at = 0;
    for (const json::Value object : page.data.items()) {
      const Face face = faces_[at++];
      co_await emit_listed(kind, face, object);
    }
    if (!page.last.empty()) {
      if (page.more) guard.next_cursor(page.last);
      place.clock_after = page.last;
      co_await checkpoint_place(place);
    }
    if (!page.more) co_return;
  }
}

Task<> Stripe::read_own_account(const List& list) {
  const std::string what = "reading /v1/account";
  Reply reply = co_await get("/v1/account");
  if (reply.status() != 200) throw explain(reply, what, now_ms(), list.stream);
  look_at(reply, what);
  const json::Value account = json_of(reply, what);
  const Face face = expect_object(kind_of(list.type), account, what);
  if (!account_.empty() && face.id != account_) {
    throw Failure(SLUICE_FAIL_BAD_DATA,
                  what + ": " + account_ + " was asked for and Stripe answered with " +
                      std::string(sluice::sdk::cut_utf8(face.id, 80)) + "; nothing of it is kept");
  }
  co_await emit_object(kind_of(list.type), face.id, account);
}

/// The account itself, which no list has, and then the list of those connected to it. As a poll
/// each run reads them all; the last checkpoint of one then stands at the beginning.
Task<> Stripe::read_accounts(const List& list, std::string_view checkpoint_text, bool poll) {
  SnapshotPlace place;
  if (!checkpoint_text.empty()) {
    json::Document document;
    place = parse_place(parse_checkpoint(document, checkpoint_text), list.stream);
  }
  if (place.t0 == 0) co_await read_own_account(list);
  co_await read_list(list, place);
  if (poll) {
    const SnapshotPlace beginning;
    json::Writer text = beginning.text();
    co_await checkpoint(text.end_object().text());
  }
}

}  // namespace stripe
