// The Stripe connector's one class: what each file here is about.
//   connector.cpp        configuration, the lists there are, dispatch, the exported entry
//   errors.cpp           Stripe's error answers as failures that say what to do
//   pages.cpp            one page of a list, trusted only after it was looked at
//   objects.cpp          Stripe objects as records; objects/ holds the mapping of each type
//   streams/check.cpp    CHECK
//   streams/snapshot.cpp READ of everything
//   streams/poll.cpp     READ of what is new where Stripe has no events
//   streams/events.cpp   READ of what changed: notices.cpp says what an event means, trail.hpp
//                        remembers in little room which events were seen
//   streams/fetch.cpp    FETCH, and children of parents
#pragma once

#include <sluice/sdk.hpp>

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "objects/kind.hpp"
#include "stripe_manifest.hpp"

namespace stripe {

using sluice::sdk::Failure;
using sluice::sdk::Ids;
using sluice::sdk::Reply;
using sluice::sdk::Target;
using sluice::sdk::Task;

/// Every request carries it: responses keep one shape whatever the account's own default version
/// is.
inline constexpr std::string_view kApiVersion = "2026-10-28.endive";
inline constexpr std::uint32_t kPageMax = 100;  ///< Stripe's own limit
/// What checkpoints are written as. Format 1 is read too: it lacks the mode, and what it says of
/// seen events is left aside.
inline constexpr std::uint32_t kCheckpointFormat = 2;
inline constexpr std::int64_t kPagesMax =
    1'000'000;  ///< of one run; more is a list that does not end
inline constexpr std::int64_t kChildPagesMax = 1'000;  ///< of one parent's children
inline constexpr std::size_t kCursorBytesMax = 1024;   ///< as JSON, so that it fits a checkpoint
inline constexpr std::int64_t kYear9999 = 253'402'300'799;  ///< the last second that is a timestamp

/// One list at Stripe that a stream of ours reads.
struct List {
  std::string_view stream;
  std::uint32_t type;
  std::string_view permission;  ///< what a restricted key needs, should Stripe not say so itself
  bool canceled_too = false;    ///< subscriptions leave canceled ones out unless asked
  bool by_created = true;       ///< the list can be cut by `created`
  bool by_clock = false;  ///< what hangs on a test clock is listed only where its clock is named
};
std::span<const List> lists();

/// A list whose new objects no event announces. What is unsettled is read again when it is due.
struct Poll {
  std::string_view stream;
  std::string_view list;       ///< the stream of the List
  std::string_view unsettled;  ///< value of "status"; empty: nothing is read again
  std::string_view due_field;  ///< when it will have settled
  std::int64_t reach = 0;      ///< so far back the first run has everything read once more
};
std::span<const Poll> polls();

// ---- errors.cpp ----
/// The failure that a reply other than 200 means. `what` is what was asked, as in "reading
/// /v1/invoices"; `stream` is what stands still until a missing permission is given.
Failure explain(Reply& reply, std::string_view what, std::int64_t now_ms,
                std::string_view stream = {});
/// 404 with code resource_missing: the object is gone, rather than the address wrong or the key of
/// the other mode.
bool is_gone(Reply& reply);
/// A 400 because the object that `starting_after` names was deleted or aged out.
bool is_bad_cursor(Reply& reply);
bool is_aged_out(Reply& reply);
/// A 403 because the account named is not, or no longer, connected to the platform.
bool is_foreign_account(Reply& reply);
/// The permission that a restricted key needs for a stream; empty when there is no such stream.
std::string_view permission_for(std::string_view stream);
/// The permission that a 403 asks for ("rak_invoice_read"); empty when it names none.
std::string_view missing_permission(std::string_view message);
/// The reply's JSON; throws BAD_DATA with `what` when it is none.
json::Value json_of(Reply& reply, std::string_view what);
/// Masks everything that looks like a key: keys never reach a log.
std::string without_keys(std::string_view text);

// ---- objects.cpp ----
const Kind& kind_of(std::uint32_t type);

/// What every Stripe object has; read in one pass.
struct Face {
  std::string_view id;
  std::string_view object;
  std::optional<std::int64_t> created;
  std::optional<bool> livemode;
  bool deleted = false;
  bool stray = false;  ///< of another mode than those around it: it costs itself
};
Face face_of(const json::Value& object);

/// Can it be the id of a record? Else the host puts the record aside, and nothing can refer to it.
bool is_storable_id(std::string_view id);

/// How the answer at hand is to be read.
struct Reading {
  bool our_version = false;  ///< it says that it is in kApiVersion; else older shapes are tried too
  std::string_view dashboard;  ///< where the account is shown, "https://dashboard.stripe.com/test"
};

/// Fills the record with `object`.
void fill(Record& record, const Kind& kind, std::string_view id, const json::Value& object,
          const Reading& reading);
/// Fills the record so that the host puts it aside under its id: its mode is no boolean but a text.
/// A kind that keeps no mode has the record go without its id.
void fill_aside(Record& record, const Kind& kind, const Face& face);
/// Where a person sees it: the kind's page of the object `shown`.
void put_page(Record& record, const Kind& kind, std::string_view shown, std::string_view dashboard);

// ---- pages.cpp ----
/// Finds a list that does not end: a cursor that comes back, after however many pages, in constant
/// memory (Brent's method), and a ceiling on pages.
class LoopGuard {
 public:
  LoopGuard(std::string_view what, std::int64_t pages_max) : what_(what), pages_max_(pages_max) {}
  /// Throws Failure(BAD_DATA) when this list cannot be trusted to end.
  void next_cursor(std::string_view cursor);

 private:
  std::string what_;
  std::string anchor_;
  std::int64_t pages_max_;
  std::int64_t pages_ = 0;
  std::int64_t anchor_until_ = 1;
};

/// One page of a list. `last` is the id of its last object that has one, empty when none has: the
/// next page begins behind it, with those that have none once more.
struct ListPage {
  json::Value data;
  bool more = false;
  std::string_view last;
};

/// The page behind the cursor `after` (empty: the first). Throws BAD_DATA when it is no list, holds
/// not one object, promises more behind objects of which none has an id, or holds the cursor itself
/// (Stripe sent a page again), UPSTREAM_TRANSIENT when it says that there is more and sends
/// nothing.
ListPage page_of(Reply& reply, std::string_view what, std::string_view after);

/// A checkpoint's text as JSON; throws CHECKPOINT_REJECTED when it is none.
json::Value parse_checkpoint(json::Document& document, std::string_view text);
[[noreturn]] void reject_checkpoint(std::string_view stream);

class Stripe final : public sluice::sdk::Connector {
 private:
  void configure(const json::Value& config) override;
  Task<> check() override;
  Task<> read(std::string_view stream, std::string_view checkpoint,
              std::uint32_t checkpoint_format) override;
  Task<> fetch(std::uint32_t type, std::vector<std::string_view> ids) override;

  /// Children that come inside a parent, ten at most, and have a list of their own.
  struct ChildKind {
    std::uint32_t type;
    std::uint32_t parent_attribute;
    std::string_view what;
  };
  static const ChildKind kItems;
  static const ChildKind kLines;
  static const ChildKind kPayments;

  Task<> read_snapshot(const List& list, std::string_view checkpoint);
  Task<> read_accounts(const List& list, std::string_view checkpoint, bool poll);
  Task<> read_own_account(const List& list);
  Task<> read_list(const List& list, struct SnapshotPlace& place);
  Task<> read_clocks(const List& list, struct SnapshotPlace& place);
  Task<> read_clock(const List& list, struct SnapshotPlace& place);
  Task<> checkpoint_place(const struct SnapshotPlace& place);
  /// One of a list's objects, as it was looked at.
  Task<> emit_listed(const Kind& kind, const Face& face, json::Value object);
  Task<> read_poll(const Poll& poll, const List& list, std::string_view checkpoint);
  Task<> read_poll_window(const Poll& poll, const List& list, struct PollPlace& place);
  Task<> read_events(std::string_view checkpoint);
  Task<> read_event_windows(struct EventPlace& place);
  Task<> notice_events(const json::Value& page, struct EventPlace& place);
  Task<> give_notices(std::vector<struct Waiting>& waiting);
  Task<> log_events(std::int64_t read);

  Task<> fetch_one(std::uint32_t type, std::string_view id, Reply reply);
  Task<> emit_gone(std::uint32_t type, std::string_view id);
  /// The object with its children and their complete sets.
  Task<> emit_object(const Kind& kind, std::string_view id, json::Value object);
  Task<> emit_children(const ChildKind& kind, std::string_view parent, json::Value embedded);
  /// One pass over the children's own list; false when it has to be begun again.
  Task<bool> emit_child_pages(const ChildKind& kind, std::string_view parent);
  std::string child_target(const ChildKind& kind, std::string_view parent,
                           std::string_view after) const;
  void forget_children();
  void begin_child(const ChildKind& kind, std::string_view parent, const json::Value& child);

  Target list_target(const List& list) const;
  /// Looks at who answered and in which version; throws when it was another account.
  void look_at(const Reply& reply, std::string_view what);
  /// Looks at one of a list's objects; throws BAD_DATA when it says that it is of another kind. It
  /// may be without an id: then it is put aside by itself.
  Face look_at_object(const Kind& kind, const json::Value& object, std::string_view what);
  /// The same of an object that was asked for by itself, which must have an id. Its mode is
  /// learned, or it is marked when several before it showed the other one.
  Face expect_object(const Kind& kind, const json::Value& object, std::string_view what);
  /// Looks at all objects of a page before the first of them is put out; faces_ holds what was
  /// seen.
  void look_over(const Kind& kind, const ListPage& page, std::string_view what);
  /// Learns the mode from all of faces_ and marks the few that are of another one.
  void learn_modes(std::string_view what);
  /// Logs which of faces_ are marked, if any is.
  Task<> tell_strays(std::string_view stream);
  Task<> put_aside(const Kind& kind, const Face& face);
  [[nodiscard]] std::string of_other_mode(std::string_view where, std::string_view ids) const;
  /// Learns from an object whether the key is a live key; the address in the dashboard follows.
  /// Throws when it is not the mode that was learned.
  void learn_mode(std::optional<bool> livemode, std::string_view what, std::string_view id);
  /// The mode that an earlier run saw; its checkpoint carries it.
  void take_mode(const json::Value& checkpoint);
  void put_mode(json::Writer& checkpoint) const;
  [[nodiscard]] Reading reading() const { return {our_version_, dashboard_}; }
  std::int64_t server_seconds(const Reply& reply) const {
    return reply.server_time().value_or(now_ms() / 1000);
  }

  std::string account_;  ///< that requests are for, by setting `account` or `context`
  std::int64_t event_lag_ = 60;
  std::int64_t event_overlap_ = 600;
  std::optional<bool> livemode_;
  bool mode_shown_ = false;  ///< an object of this session had it, rather than a checkpoint
  std::int64_t alone_ = 0;   ///< objects that were asked for by themselves and showed the mode
  bool our_version_ = false;
  std::string dashboard_ = "https://dashboard.stripe.com";

  std::vector<Face> faces_;  ///< of the page at hand, in its order

  // Of the parent whose children are being emitted; reused.
  Ids child_ids_;
  bool children_named_ = true;  ///< each of them had an id
  std::string stray_children_;  ///< the first ids of those of another mode
  std::optional<std::int64_t> period_start_;
  std::optional<std::int64_t> period_end_;

  // Of a run over events.
  std::unordered_set<std::uint64_t> noticed_;
  std::map<std::string, std::int64_t, std::less<>> not_synced_;
};

}  // namespace stripe
