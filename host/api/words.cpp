#include "api/words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/numbers.hpp"

namespace sluice::api {
namespace {

using std::chrono::seconds;

/// A stream that is due for so long and that nobody works on is not merely waiting its turn.
constexpr seconds kOverdueAfter{60};

seconds between(Micros from, Micros to) {
  return std::chrono::duration_cast<seconds>(std::max(Micros(0), to - from));
}

std::string when(const StreamFacts& stream) {
  if (!stream.next_run_at) return "only when somebody asks for it";
  if (*stream.next_run_at <= stream.now) return "now";
  // Whole seconds: the time of day is for people.
  const auto at = std::chrono::duration_cast<seconds>(*stream.next_run_at);
  return fmt::format("in {} (at {})", span_in_words(between(stream.now, *stream.next_run_at)),
                     to_rfc3339(at));
}

std::string sync_command(const StreamFacts& stream) {
  return fmt::format("sluice sync {} --stream {}", stream.connection, stream.name);
}

std::string with_reason(std::string_view words, const std::string& reason) {
  return reason.empty() ? std::string(words) : fmt::format("{}: {}", words, reason);
}

struct Trouble {
  std::string_view error_class;
  bool needs_person;
  std::string_view what;
};
constexpr std::array<Trouble, 10> kTroubles = {{
    {"AUTH", true, "the vendor refuses the key"},
    {"PERMISSION", true, "the key lacks a permission"},
    {"CONFIG", true, "the connection's configuration does not fit"},
    {"UPSTREAM_PERMANENT", true, "the vendor refuses the request"},
    {"RATE_LIMITED", false, "the vendor asks for a pause"},
    {"UPSTREAM_TRANSIENT", false, "the vendor has trouble or cannot be reached"},
    {"BAD_DATA", false, "the vendor's answer cannot be used"},
    {"CHECKPOINT_REJECTED", false, "the vendor no longer knows the place where it stopped"},
    {"CANCELLED", false, "it was stopped"},
    {"INTERNAL", false, "a defect, here or in the connector"},
}};

/// Its reason says which (host/vault/vault.hpp).
bool is_closed(const StreamFacts& stream) { return stream.reason.starts_with("vault."); }
constexpr Trouble kClosed = {"CONFIG", true, "its secret is not opened, and nothing was sent"};

const Trouble& trouble_of(const std::string& error_class) {
  for (const Trouble& trouble : kTroubles) {
    if (trouble.error_class == error_class) return trouble;
  }
  return kTroubles.back();
}

std::string action_for(const Trouble& trouble, const StreamFacts& stream) {
  const std::string again = !stream.running ? "it is tried again " + when(stream)
                            : stream.worked_on
                                ? "it is being tried again now"
                                : "the host that tried it again is gone; another does";
  const std::string now = sync_command(stream);
  if (trouble.error_class == "AUTH") {
    return fmt::format(
        "store a valid key, which is tried at once: sluice connection set-secret {} {}; {}",
        stream.connection, stream.secret.empty() ? "SECRET" : stream.secret, again);
  }
  if (trouble.error_class == "PERMISSION")
    return fmt::format("give the key that permission at the vendor, then: {}; {}", now, again);
  if (is_closed(stream)) {
    return fmt::format(
        "see that it leads where it should, and enter the secret again, which is tried at once: "
        "sluice connection set-secret {} {} --to-new-destination; {}",
        stream.connection, stream.secret.empty() ? "SECRET" : stream.secret, again);
  }
  if (trouble.error_class == "CONFIG")
    return fmt::format("correct what is named there, then: {}; {}", now, again);
  if (trouble.error_class == "UPSTREAM_PERMANENT")
    return fmt::format("mend at the vendor what its words name, then: {}; {}", now, again);
  if (trouble.error_class == "RATE_LIMITED") return fmt::format("nothing to do: {}", again);
  if (trouble.error_class == "INTERNAL" || trouble.error_class == "BAD_DATA") {
    return fmt::format("{}; when it stays, report it with: sluice run show {}", again,
                       stream.last_run);
  }
  return fmt::format("nothing to do unless it lasts: {}", again);
}

/// "; waits for the vendor's rate …", where it does.
std::string waits_for_rate(const StreamFacts& stream) {
  if (!stream.running || !stream.running->held) return "";
  const auto left = std::chrono::ceil<seconds>(*stream.running->held);
  const auto at = std::chrono::ceil<seconds>(stream.now + *stream.running->held);
  return fmt::format("; waits for the vendor's rate, the next request goes in {}, at {}",
                     span_in_words(left), to_rfc3339(at));
}

/// Until a page of it has come, also while it is tried again: what is not mended does not look so.
StreamWords failing(const StreamFacts& stream) {
  const Trouble& trouble = is_closed(stream) ? kClosed : trouble_of(stream.error_class);
  StreamWords words;
  words.health = trouble.needs_person ? "needs_action" : "failing";
  words.summary = with_reason(trouble.what, stream.reason);
  if (stream.failures > 1)
    words.summary += fmt::format(" ({} times in a row)", with_commas(stream.failures));
  words.summary += waits_for_rate(stream);
  words.action = action_for(trouble, stream);
  return words;
}

StreamWords running(const StreamFacts& stream) {
  const RunningFacts& run = *stream.running;
  StreamWords words;
  words.health = "running";
  const std::string_view doing = stream.mode == "snapshot"  ? "reading everything"
                                 : stream.mode == "changes" ? "reading changes"
                                                            : "reading what is new";
  words.summary =
      fmt::format("{}: {} record{} in {} page{}", doing, with_commas(run.records),
                  run.records == 1 ? "" : "s", with_commas(run.pages), run.pages == 1 ? "" : "s");
  words.summary += waits_for_rate(stream);
  if (run.records_per_second && !run.held)
    words.summary += fmt::format(", {}/s", with_commas(std::llround(*run.records_per_second)));
  const Estimate left = estimate(stream);
  if (!left.words.empty() && !run.held) words.summary += ", " + left.words;
  if (!stream.reason.empty()) words.summary += "; " + stream.reason;
  return words;
}

/// Of the whole file, everywhere.
StreamWords connector_held(const StreamFacts& stream) {
  StreamWords words;
  words.health = "needs_action";
  words.summary = with_reason("its connector is held", stream.held);
  words.action =
      "install another version of it; or an operator lets this one run again: sluice connector "
      "approve";
  return words;
}

StreamWords abandoned() {
  StreamWords words;
  words.health = "waiting";
  words.summary = "the host that ran it is gone; another goes on from the last page";
  words.action = "when it stays like this: is a sluiced running? See its log and /readyz";
  return words;
}

StreamWords overdue(const StreamFacts& stream) {
  StreamWords words;
  words.health = "overdue";
  words.summary = fmt::format("due for {}, and no host works on it",
                              span_in_words(between(*stream.next_run_at, stream.now)));
  words.action =
      "does a sluiced run (/readyz, its log)? If so it works on other connections of this "
      "workspace "
      "first: sync.connections_max";
  return words;
}

StreamWords waiting(const StreamFacts& stream) {
  StreamWords words;
  words.health = "waiting";
  words.summary = with_reason(
      stream.last_success_at ? "waits for its turn" : "waits for its first run", stream.reason);
  if (stream.next_run_at && *stream.next_run_at > stream.now)
    words.summary += "; begins " + when(stream);
  return words;
}

/// "; read again: 3 new or changed, 1 missing"; empty when there is nothing to tell.
std::string found_again(const StreamFacts& stream) {
  if (stream.mode != "snapshot" || !stream.reread_found) return {};
  const std::int64_t missing = stream.reread_missing.value_or(0);
  if (*stream.reread_found == 0 && missing == 0) return "; read again: as it was";
  return fmt::format("; read again: {} new or changed, {} missing",
                     with_commas(*stream.reread_found), with_commas(missing));
}

StreamWords well(const StreamFacts& stream) {
  StreamWords words;
  words.health = "ok";
  const std::string_view what = stream.mode == "snapshot"  ? "everything is read"
                                : stream.mode == "changes" ? "follows the vendor's changes"
                                                           : "up to date";
  words.summary = what;
  if (stream.last_success_at) {
    words.summary +=
        fmt::format("; last {} ago", span_in_words(between(*stream.last_success_at, stream.now)));
  }
  words.summary += found_again(stream);
  words.summary += "; next " + when(stream);
  if (!stream.reason.empty()) words.summary += "; " + stream.reason;
  return words;
}

/// What is read is stored, but for what cannot be.
StreamWords partial(StreamWords words, const StreamFacts& stream) {
  words.health = "partial";
  words.summary = put_aside_in_words(stream.put_aside, false) + "; " + words.summary;
  words.action = put_aside_action(stream.connection);
  return words;
}

StreamWords off(std::string why, std::string action) {
  StreamWords words;
  words.health = "off";
  words.summary = std::move(why);
  words.action = std::move(action);
  return words;
}

/// Nobody runs it any more: its connector ended hosts, or did not come back.
StreamWords held(const StreamFacts& stream) {
  StreamWords words;
  words.health = "needs_action";
  words.summary = with_reason("held", stream.reason);
  words.action = fmt::format(
      "install a version of the connector that mends it; or have it tried again: sluice connection "
      "resume {} {}",
      stream.connection, stream.name);
  return words;
}

StreamWords without_reconcile(const StreamFacts& stream) {
  const bool due = stream.next_run_at && *stream.next_run_at <= stream.now;
  if (stream.failures > 0 || stream.state == "failed") return failing(stream);
  if (stream.running && stream.worked_on) return running(stream);
  if (stream.running) return abandoned();
  if (due && !stream.worked_on && between(*stream.next_run_at, stream.now) > kOverdueAfter)
    return overdue(stream);
  if (due || stream.state == "new" || stream.state == "waiting" ||
      (stream.mode == "snapshot" && !stream.snapshot_done))
    return waiting(stream);
  return well(stream);
}

}  // namespace

std::string span_in_words(seconds span) {
  const std::int64_t s = span.count();
  if (s < 90) return fmt::format("{} s", s);
  if (s < 90 * 60) return fmt::format("{} min", (s + 30) / 60);
  if (s < 36 * 3600) {
    const std::int64_t minutes = (s + 30) / 60;
    return minutes % 60 == 0 ? fmt::format("{} h", minutes / 60)
                             : fmt::format("{} h {} min", minutes / 60, minutes % 60);
  }
  return fmt::format("{} days", (s + 12 * 3600) / (24 * 3600));
}

std::string put_aside_in_words(std::int64_t count, bool at_least) {
  return fmt::format("{}{} put aside", at_least ? "at least " : "",
                     count == 1 ? "1 record is" : with_commas(count) + " records are");
}

std::string put_aside_action(const std::string& connection) {
  return fmt::format(
      "sluice errors says why; look at them: sluice quarantine list --connection {0}; mended? "
      "sluice quarantine replay --connection {0} --code CODE",
      connection);
}

Estimate estimate(const StreamFacts& stream) {
  Estimate left;
  if (stream.mode != "snapshot" || !stream.running || stream.snapshot_done) return left;
  const auto unknown = [&left](std::string_view why) {
    left.words = fmt::format("time left unknown ({})", why);
    return left;
  };
  const bool by_vendor = stream.vendor_total > 0 && stream.total_counts_records;
  left.of_records = by_vendor ? stream.vendor_total : stream.last_full_records;
  if (left.of_records <= 0) {
    left.of_records = 0;
    return unknown("the vendor gives no total, and this is the first full read");
  }
  left.basis = by_vendor ? "vendor_total" : "last_full_read";
  const std::int64_t rest = left.of_records - stream.enumerated;
  if (rest <= 0) {
    return unknown(by_vendor ? "more came than the vendor counts"
                             : "there is more than at the last full read");
  }
  const double rate = stream.running->records_per_second.value_or(0);
  if (rate <= 0)
    return unknown(stream.running->records_per_second ? "nothing arrives at the moment"
                                                      : "too early to say");
  left.seconds_left = static_cast<std::int64_t>(std::ceil(static_cast<double>(rest) / rate));
  left.words = fmt::format("about {} left, from {}", span_in_words(seconds(*left.seconds_left)),
                           by_vendor ? "the vendor's total" : "the last full read");
  return left;
}

StreamWords describe(const StreamFacts& stream) {
  if (stream.connection_state == "DISCONNECTING")
    return off("its connection is being disabled: its rows go", "");
  if (stream.connection_state == "DISCONNECTED") {
    return off("its connection is disabled",
               "sluice connection enable " + stream.connection + " brings it and its rows back");
  }
  if (!stream.held.empty()) return connector_held(stream);
  if (!stream.enabled && stream.error_class == "HELD") return held(stream);
  if (!stream.enabled) return off("switched off", "");
  StreamWords words = without_reconcile(stream);
  if (words.health == "ok" && stream.put_aside > 0) words = partial(std::move(words), stream);
  if (!stream.reconcile_blocked) return words;
  words.health = "blocked";
  words.summary += "; " + with_reason("waits for a decision about what is missing at the vendor",
                                      stream.reconcile_reason);
  const std::string decide = fmt::format(
      "look at the vendor, then: sluice reconcile confirm {0} {1} (deletes them here "
      "too), or: sluice reconcile reject {0} {1}",
      stream.connection, stream.name);
  words.action = words.action.empty() ? decide : words.action + "; and " + decide;
  return words;
}

}  // namespace sluice::api
