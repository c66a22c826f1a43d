// Reads a whole list, newest first, down from the moment T0 at which the first page was made. What
// is created later stands before our cursor and is left to the events, whose cursor began before
// T0.
//
// Checkpoint, format 1: {"v":1,"t0":…,"lt":…,"after":"cus_…","created":…}
//   lt       everything is created before this second
//   after    the last object of the last page that was put out; empty: begin at lt
//   created  its second: where to begin again when Stripe no longer knows `after`
#include "stripe.hpp"

namespace stripe {
namespace {

struct Place {
  std::int64_t t0 = 0;  ///< 0: not known yet, no page was read
  std::int64_t below = 0;
  std::string after;
  std::int64_t created = 0;
};

Place parse_place(std::string_view text) {
  Place place;
  if (text.empty()) return place;
  json::Document document;
  json::Value root;
  try {
    root = document.parse(text);
  } catch (const json::Error& error) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  std::string("the checkpoint is damaged: ") + error.what());
  }
  const auto t0 = root["t0"].integer();
  const auto below = root["lt"].integer();
  const auto created = root["created"].integer();
  const bool plausible = root["v"].integer() == 1 && t0 && below && created &&
                         root["after"].is_string() && *t0 > 0 && *below > 0 && *below <= *t0 + 1 &&
                         *created >= 0 && *created < *below;
  if (!plausible) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  "the checkpoint does not hold what this stream wrote: read the stream again from "
                  "its start");
  }
  place.t0 = *t0;
  place.below = *below;
  place.after = root["after"].text();
  place.created = *created;
  return place;
}

std::string to_text(const Place& place) {
  json::Writer writer;
  writer.begin_object().member("v", 1).member("t0", place.t0).member("lt", place.below);
  writer.member("after", place.after).member("created", place.created).end_object();
  return writer.text();
}

}  // namespace

Task<> Stripe::read_snapshot(const List& list, std::string_view checkpoint_text) {
  constexpr int kRestartsMax = 5;  // in a row, without a page between them
  const std::string what = "reading " + std::string(list.path);
  Place place = parse_place(checkpoint_text);
  LoopGuard guard(what, kPagesMax);
  int restarts = 0;

  for (;;) {
    Target target{std::string(list.path)};
    if (list.canceled_too) target.add("status", "all");
    target.add("limit", page_size(kPageMax));
    if (place.t0 != 0) target.add("created[lt]", place.below);
    if (!place.after.empty()) target.add("starting_after", place.after);

    Reply reply = co_await get(target.text());
    if (!place.after.empty() && is_bad_cursor(reply)) {
      if (++restarts > kRestartsMax) throw explain(reply, what, now_ms());
      co_await log(SLUICE_LOG_WARNING,
                   what + ": Stripe no longer knows the cursor; beginning again at its second");
      place.below = place.created + 1;
      place.after.clear();
      continue;
    }
    if (reply.status() != 200) throw explain(reply, what, now_ms());
    restarts = 0;
    if (place.t0 == 0) {
      place.t0 = server_seconds(reply);
      place.below = place.t0 + 1;
    }

    const json::Value page = json_of(reply, what);
    const json::Value data = list_data(reply, what);
    std::string_view last;
    for (const json::Value object : data.items()) {
      learn_mode(object);
      co_await emit_object(list.type, object);
      last = object["id"].text();
      const std::int64_t created = object["created"].integer_or(place.below - 1);
      place.created = created < 0 ? 0 : created >= place.below ? place.below - 1 : created;
    }
    const bool more = page["has_more"].boolean() == true && !last.empty();
    if (!last.empty()) {
      if (more) guard.next_cursor(last);
      place.after = last;
      co_await checkpoint(to_text(place));
    }
    if (!more) co_return;
  }
}

}  // namespace stripe
